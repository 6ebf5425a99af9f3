"""Actors: the runtime they share (transport, base actor, system) and, on top of it, NullBox's own actors.

First file to open: `base.py`, then `system.py`; `transport/` is how messages travel.
"""

from nullbox.actors import lean as lean  # before anything else loads Thespian
