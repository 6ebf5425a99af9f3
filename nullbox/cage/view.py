"""What `agent inspect` and `agent stats` show of a cage, as plain data. Effects: reads the kernel's statistics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nullbox.cage import traffic
from nullbox.cage.manifest import Manifest
from nullbox.cage.vm import Vm
from nullbox.cage.vmplan import VmPlan


def stats(plan: VmPlan | None, vm: Vm) -> dict[str, int]:
    """What the VM uses and used: the cgroup's numbers (`Cgroup.stats`) and those of its link (`traffic.COUNTERS`)."""
    return {
        **vm.cgroup.stats(),
        **(traffic.counters(plan.link.tap) if plan is not None and plan.link is not None else {}),
    }


def inspect(manifest: Manifest, state: str, plan: VmPlan | None, vm: Vm) -> dict[str, Any]:
    """The manifest, the state, and, once there is a VM, its process, its guest, its limits and its use of them."""
    hello = vm.control.hello
    shown: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "runtime": manifest.runtime,
        "restart": manifest.restart,
        "state": state,
        "guest": None,
        "vmm": None,
    }
    if hello is not None:
        shown["guest"] = {"kernel": hello.kernel, "boot_id": hello.boot_id, "agent_pid": hello.pid}
    if plan is not None and vm.process is not None:
        shown["vmm"] = {
            "pid": vm.record.pid,
            "uid": plan.jail.uid,
            "limits": asdict(plan.limits),
            "link": asdict(plan.link) if plan.link is not None else None,
            "shares": [{"guest": s.guest or "/", "host": s.host, "read_only": s.read_only} for s in plan.shares],
            "use": vm.cgroup.stats(),
        }
    return shown
