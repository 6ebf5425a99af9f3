"""How messages travel between actors: AF_UNIX SOCK_SEQPACKET behind Thespian's transport interface.

`naming` and `packet` and `outbox` are pure; `connection`, `poller` and `unix` do the system calls.
The reasons are in docs/design/transport.md.
"""
