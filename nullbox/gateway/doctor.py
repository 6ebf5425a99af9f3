"""What is wrong with the system, and what to do: findings from facts. Pure; `serve_doctor` gathers the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nullbox.gateway import views

Facts = Mapping[str, Any]

OK, WARNING, FAILURE = "ok", "warning", "failure"

CONTROLLERS = ("cpu", "memory", "pids")
"""What cages limit agents with (cgroup v2)."""
LITTLE_SPACE = 0.10
NO_SPACE = 0.02
LITTLE_MEMORY = 0.10
BUILT = 1_764_000_000.0
"""A time shortly before this code was written: a clock that shows less is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `advice` says what to do; empty when it is well."""

    check: str
    state: str
    found: str
    advice: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def services(facts: Facts) -> Finding:
    """Do all services run?"""
    down = [each for each in views.services(facts["tree"]) if each["state"] != "running"]
    if not down:
        return Finding("services", OK, "all run")
    found = ", ".join(f"{each['name']} is {each['state']}" for each in down)
    return Finding(
        "services", FAILURE, found, "`nullctl events` shows why; a service comes back by itself or escalates"
    )


def agents(facts: Facts) -> Finding:
    """Has an agent failed, or does one restart over and over?"""
    failed = [each["name"] for each in views.agents(facts["tree"]) if each["state"] == "failed"]
    looping = [each["name"] for each in views.agents(facts["tree"]) if each["state"] == "backoff"]
    if failed:
        return Finding(
            "agents", WARNING, f"failed: {', '.join(failed)}", "`nullctl agent logs NAME`, then `agent start NAME`"
        )
    if looping:
        advice = "they end by themselves; `nullctl agent logs NAME` shows how"
        return Finding("agents", WARNING, f"being restarted: {', '.join(looping)}", advice)
    return Finding("agents", OK, "none has failed")


def virtualization(facts: Facts) -> Finding:
    """The device alone proves nothing, nor does the flag; a running VM does."""
    acceleration = facts["acceleration"]
    if facts["driver"] == "process":
        advice = "for development only; the krun driver isolates"
        return Finding("isolation", WARNING, "the process driver: agents are NOT isolated", advice)
    if any(each["state"] in ("running", "paused") for each in views.agents(facts["tree"])):
        how = "in an emulated CPU" if acceleration.get("emulated_cpu") else "in hardware"
        return Finding("isolation", OK, f"microVMs run, {how}")
    if not acceleration.get("kvm"):
        return Finding(
            "isolation", FAILURE, "no /dev/kvm", "enable virtualization (nested, in a VM); agents cannot start"
        )
    if not acceleration.get("extension"):
        advice = "use a CPU type that passes svm or vmx on (QEMU: -cpu host or max)"
        return Finding("isolation", FAILURE, "/dev/kvm without svm or vmx in the CPU's flags", advice)
    return Finding("isolation", OK, f"/dev/kvm and {acceleration['extension']}; no VM runs now to prove it")


def cgroups(facts: Facts) -> Finding:
    """Are the controllers there that limit agents?"""
    missing = [name for name in CONTROLLERS if name not in facts["controllers"]]
    if missing:
        advice = "boot with cgroup v2 and these controllers; agents run without those limits"
        # MicroVMs without limits do not start at all; development may do without.
        state = WARNING if facts["driver"] == "process" else FAILURE
        return Finding("cgroups", state, f"missing: {', '.join(missing)}", advice)
    return Finding("cgroups", OK, ", ".join(CONTROLLERS))


def firewall(facts: Facts) -> Finding:
    """Does egress answer for the ruleset?"""
    if facts["egress"] is None:
        return Finding("firewall", OK, "egress answers")
    return Finding("firewall", FAILURE, facts["egress"], "agents keep the rules they have; `nullctl tree` shows egress")


def store(facts: Facts) -> Finding:
    """Does ctxgraph take writes?"""
    if facts["ctxgraph"] is None:
        return Finding("ctxgraph", OK, "the store answers")
    return Finding("ctxgraph", FAILURE, facts["ctxgraph"], "agents cannot write; look at the disk, then at the events")


def disk(facts: Facts) -> Finding:
    """Is there space where the store and the logs are?"""
    free, total = facts["disk_free"], facts["disk_total"]
    share = free / total if total else 0.0
    found = f"{free // 2**20} of {total // 2**20} MiB free in {facts['state_dir']}"
    if share < NO_SPACE:
        return Finding("disk", FAILURE, found, "remove agents' data, or give the machine a larger disk")
    if share < LITTLE_SPACE:
        return Finding("disk", WARNING, found, "remove agents' data before it is full")
    return Finding("disk", OK, found)


def state(facts: Facts) -> Finding:
    """Does what is written last?"""
    kept = facts.get("state")
    if kept is None:
        return Finding("state", OK, f"in {facts['state_dir']} of this host")
    if kept.get("kind") == "disk":
        return Finding("state", OK, str(kept.get("detail")))
    advice = "attach a disk with a partition labelled STATE (docs/design/state.md) and boot again"
    if kept.get("device"):
        advice = "repair that partition on another machine, or `nullctl power reset --state` empties it"
    return Finding("state", WARNING, f"in memory, lost when the machine goes off: {kept.get('detail')}", advice)


def memory(facts: Facts) -> Finding:
    """Is there memory for one more agent?"""
    used, total = facts["memory"].get("used_mib", 0), facts["memory"].get("total_mib", 0)
    found = f"{used} of {total} MiB used"
    if total and (total - used) / total < LITTLE_MEMORY:
        return Finding("memory", WARNING, found, "stop an agent, or give the machine more memory")
    return Finding("memory", OK, found)


def clock(facts: Facts) -> Finding:
    """Certificates and logs need a clock that is about right."""
    if facts["now"] < BUILT:
        return Finding(
            "clock", FAILURE, "it is before this version was made", "set the machine's clock; TLS fails with it"
        )
    return Finding("clock", OK, "plausible")


CHECKS: Sequence[Callable[[Facts], Finding]] = (
    services,
    agents,
    virtualization,
    cgroups,
    firewall,
    store,
    disk,
    state,
    memory,
    clock,
)


def examine(facts: Facts) -> list[Finding]:
    """All checks, in their order."""
    return [check(facts) for check in CHECKS]


def healthy(findings: Sequence[Finding]) -> bool:
    """No failure; warnings are allowed."""
    return all(finding.state != FAILURE for finding in findings)
