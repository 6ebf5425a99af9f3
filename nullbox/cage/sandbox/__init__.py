"""The development driver's runner: an agent as a process of this host. `python -m nullbox.cage.sandbox PLAN.json`

It stands where a VMM would: one process in the agent's cgroup, which ends with the agent's code, writes the agent's
output to the same console, and serves the same control socket. **It is no isolation boundary**: the agent shares the
host's kernel. `process_plan` says what is in the sandbox; the modules here make it so.
"""
