"""JSON-RPC lines over a stream: asyncio server, and clients with and without asyncio.

What the methods are is not known here; the gateway and ctxgraph bring theirs.
"""
