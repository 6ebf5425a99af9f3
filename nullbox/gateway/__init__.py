"""What operators talk to: JSON-RPC methods over a Unix socket and a virtio-serial port, and who may call them.

`methods` is the table, `schema` checks parameters by it, `roles` decides who may; all pure. `handlers` serves the
calls, `service` runs them in a thread of their own inside the gateway's actor.
"""
