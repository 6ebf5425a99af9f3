"""PID 1: standard library only, few allocations after boot, never exits.

Read `pid1.py` first; it is the loop. What it decides is in `lifecycle.py`, what it sets up in `phases.py`, and the
system calls are in `host.py`.
"""
