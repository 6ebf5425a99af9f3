"""Shared memory that agents can trust: content-addressed, append-only, on SQLite.

The pure parts are `entry` (hash rule), `access`, `quota`, `query` and `merkle`; effects are in `store`, `reader`
and `writer` (SQLite), `server` and `service` (sockets). Start reading at `entry`.
"""
