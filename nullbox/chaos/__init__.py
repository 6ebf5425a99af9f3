"""Crash injection: every effect of every actor as a place where it can be made to fail. For tests and `nullbox chaos`.

Nothing of this is in the image, and nothing in the product knows of it: fail points are a table (`points`) that is
woven into a running program from outside (`weave`), before the first actor is forked.
"""
