"""Supervision: who is started, watched, restarted and given up. A pure core (`decide`) and a thin actor around it."""
