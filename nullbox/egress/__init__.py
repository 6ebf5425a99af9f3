"""Default-deny networking of the agents: one TAP, one address pair and one set of grants per agent.

Start with `ruleset` (what the kernel is told), `service` (when it is told), `dns/` (who may know which address).
"""
