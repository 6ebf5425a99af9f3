"""Many idle agents in one machine: each is seen running, and paused at once, so that the next have the processor.

Emulated guests tick (`nullbox.cage.plan.EMULATED_ENVIRONMENT`), which costs a quarter of an emulated processor each.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from operator_view import Machine, until

SOURCE = r"""
void _start(void) { for (;;) __asm__ volatile("syscall" : : "a"(34) : "rcx", "r11", "memory"); }  /* pause(2) */
"""
MANIFEST = """
[agent]
name = "NAME"
entrypoint = ["idle"]
restart = "never"
autostart = false
[capabilities]
max_cpu_percent = 100
max_memory_mb = 64
"""
STEP = 1.0
"""Seconds between two looks: each costs an emulated machine some of the time that the guests boot in."""


def deployed(machine: Machine, folder: Path, count: int) -> list[str]:
    """Deploy that many agents, a static program each; their names."""
    (folder / "idle.c").write_text(SOURCE)
    built = ["gcc", "-static", "-nostdlib", "-Os", "-o", folder / "idle", folder / "idle.c"]
    subprocess.run(built, check=True, timeout=60)
    names = [f"idle-{number}" for number in range(1, count + 1)]
    for name in names:
        place = folder / name
        place.mkdir()
        (place / "idle").write_bytes((folder / "idle").read_bytes())
        (place / "idle").chmod(0o755)
        (place / "AGENT.toml").write_text(MANIFEST.replace("NAME", name))
        machine.ok("agent", "deploy", str(place))
    return names


def run_all(machine: Machine, names: list[str], seconds: float) -> list[float]:
    """Start all of them at once, and see each one running. Returns when each was, in seconds from the first start.

    Raises:
        AssertionError: one of them ended, or they did not all run within `seconds`.
    """
    began = time.monotonic()
    ran: dict[str, float] = {}
    for name in names:
        machine.ok("agent", "start", name)

    def all_ran() -> bool:
        states = {node["id"].removeprefix("cage:"): node for node in machine.json("tree")}
        for name in names:
            node = states[name]
            assert node["last_exit"] is None, f"{name}: {node['last_exit']}\n{machine.ok('agent', 'logs', name)}"
            if node["state"] == "running":
                ran[name] = time.monotonic() - began
                machine.ok("agent", "pause", name)
        return len(ran) == len(names)

    try:
        until(all_ran, seconds=seconds, what="all of them to have run", every=STEP)
    except AssertionError as error:
        raise AssertionError(f"{error}; {len(ran)} of {len(names)} ran: {ran}") from error
    return sorted(ran.values())
