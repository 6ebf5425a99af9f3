"""Manifest + facts → plan: golden plans, arithmetic of resources, and what is refused with which numbers.

After a wanted change of plans: `NULLBOX_GOLDEN=write pytest tests/unit/cage/test_plan.py`, then read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage import planfile, resources
from nullbox.cage.manifest import parse
from nullbox.cage.plan import FIXED_DEVICES, MAX_GRANTS, HostFacts, Link, Site, VmPlan, plan
from nullbox.cage.users import DATA_GROUP
from nullbox.guest import launcher
from nullbox.protocols.errors import ErrorCode, NullBoxError
from pykrun.abi import SMOLMACHINES, STABLE, Family
from pykrun.functions import FUNCTIONS

GOLDEN = Path(__file__).parents[2] / "golden" / "cage"


def exported(family: Family) -> frozenset[str]:
    return frozenset(name for name, function in FUNCTIONS.items() if function.families & family)


FACTS = HostFacts(cpus=2, memory_mib=2048, committed_mib=0, functions=exported(SMOLMACHINES), library="/lib/libkrun.so")
LINK = Link("nb1", "5a:94:ef:00:00:01", "10.90.0.6", "10.90.0.5", 30)


def site(agent: str) -> Site:
    return Site(
        uid=1879048200,
        guest_root="/system/guest",
        agent_folder=f"/system/agents/{agent}",
        data="/var/lib/nullbox/data",
        ctx_socket=f"/run/nullbox/ctx/agents/{agent}/sock",
        control=f"/run/nullbox/cages/{agent}/room/control.sock",
        console=f"/run/nullbox/cages/{agent}/console",
        failure=f"/run/nullbox/cages/{agent}/room/failure.json",
        jail=f"/run/nullbox/cages/{agent}/jail",
        cgroup=f"/sys/fs/cgroup/nullbox/{agent}",
    )


def made(text: str, facts: HostFacts = FACTS, link: Link | None = LINK) -> VmPlan:
    manifest = parse(text)
    return plan(manifest, facts, site(manifest.name), link)


SMALL = '[agent]\nname = "small"\nruntime = "python"\n'
WIDE = """
[agent]
name = "wide"
version = "2.1.0"
entrypoint = ["bin/server", "--port", "80 \\"x\\""]
[capabilities]
max_cpu_percent = 100
max_memory_mb = 512
[capabilities.filesystem]
read = ["/data/corpus", "/data/models"]
write = ["/data/output"]
"""


@pytest.mark.parametrize(
    ("name", "text", "facts", "link"),
    [
        ("small", SMALL, FACTS, LINK),
        ("wide", WIDE, FACTS, LINK),
        ("no-link", SMALL, FACTS, None),
        ("stable-abi", SMALL, replace(FACTS, functions=exported(STABLE), library=None), LINK),
    ],
)
def test_golden_plans(name: str, text: str, facts: HostFacts, link: Link | None) -> None:
    path = GOLDEN / f"{name}.json"
    written = planfile.dumps(made(text, facts, link)) + "\n"
    if os.environ.get("NULLBOX_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written)
    assert json.loads(written) == json.loads(path.read_text())


@pytest.mark.parametrize("text", [SMALL, WIDE])
def test_a_plan_survives_its_file(text: str) -> None:
    built = made(text)
    assert planfile.loads(planfile.dumps(built)) == built


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', '{"version": 1, "agent": "a"}'])
def test_a_broken_plan_file_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"plan|Expecting"):
        planfile.loads(text)


def test_every_call_fits_the_table_of_libkrun() -> None:
    for name, arguments in made(WIDE).calls:
        assert name in exported(SMOLMACHINES)
        assert len(arguments) + 1 == len(FUNCTIONS[name].arguments), name


def test_grants_read_only_for_reading_and_mounted_at_their_declared_paths() -> None:
    built = made(WIDE)
    assert [(share.guest, share.host, share.read_only) for share in built.shares] == [
        (None, "/system/guest", True),
        ("/agent", "/system/agents/wide", True),
        ("/data/corpus", "/var/lib/nullbox/data/corpus", True),
        ("/data/models", "/var/lib/nullbox/data/models", True),
        ("/data/output", "/var/lib/nullbox/data/output", False),
    ]
    calls = {arguments[0]: arguments for name, arguments in built.calls if name == "krun_add_virtiofs3"}
    assert {tag: arguments[3] for tag, arguments in calls.items()} == {
        share.tag: share.read_only for share in built.shares
    }
    assert [share.jail for share in built.shares] == ["/guest", "/agent", "/grants/0", "/grants/1", "/grants/2"]
    assert {arguments[1] for arguments in calls.values()} == {share.jail for share in built.shares}


def test_the_jail_holds_the_shares_the_sockets_and_nothing_else() -> None:
    built = made(WIDE)
    assert [(bind.base, bind.below, bind.target, bind.use) for bind in built.jail.binds] == [
        ("/system/guest", "", "/guest", "read"),
        ("/system/agents/wide", "", "/agent", "read"),
        ("/var/lib/nullbox/data", "corpus", "/grants/0", "read"),
        ("/var/lib/nullbox/data", "models", "/grants/1", "read"),
        ("/var/lib/nullbox/data", "output", "/grants/2", "write"),
        ("/run/nullbox/ctx/agents/wide", "", "/ctx", "connect"),
        ("/run/nullbox/cages/wide/room", "", "/room", "listen"),
    ]
    assert built.jail.groups == (DATA_GROUP,)
    assert made(SMALL).jail.groups == ()
    assert made(SMALL, link=None).jail.devices == ("/dev/kvm",)
    ports = [arguments for name, arguments in built.calls if name == "krun_add_vsock_port2"]
    assert ports == [(9100, "/ctx/sock", False), (9101, "/room/control.sock", True)]


def test_the_cgroup_has_room_for_what_the_agent_may_write() -> None:
    plain = made(SMALL).limits.memory_max_mib
    one = SMALL + '[capabilities.filesystem]\nwrite = ["/data/a/x", "/data/a/y"]\nread = ["/data/b"]'
    assert made(one).limits.memory_max_mib == plain + resources.VOLUME_MIB
    two = SMALL + '[capabilities.filesystem]\nwrite = ["/data/a/x", "/data/b"]'
    assert made(two).limits.memory_max_mib == plain + 2 * resources.VOLUME_MIB


def test_the_guest_is_told_what_it_needs_and_the_word_has_no_quotes() -> None:
    arguments: Any = dict(made(WIDE).calls)["krun_set_exec"][1]
    config = launcher.decode([arguments[-1]])
    assert '"' not in arguments[-1]
    assert config["argv"] == ["/agent/bin/server", "--port", '80 "x"']
    assert config["net"] == ("eth0", "10.90.0.6", 30, "10.90.0.5")
    assert ("data2", "/data/output", False) in config["mounts"]
    assert launcher.decode([dict(made(SMALL).calls)["krun_set_exec"][1][-1]])["argv"] == [
        "/usr/bin/python3",
        "/agent/main.py",
    ]


def test_no_socket_of_the_guest_is_impersonated() -> None:
    assert ("krun_add_vsock", (0,)) in made(SMALL).calls


def refusal(text: str, facts: HostFacts = FACTS) -> NullBoxError:
    with pytest.raises(NullBoxError) as caught:
        made(text, facts)
    return caught.value


def test_credentials_are_refused_with_their_names() -> None:
    error = refusal(SMALL + '[capabilities]\ncredential_refs = ["OPENAI_KEY", "OTHER"]')
    assert error.code is ErrorCode.UNAVAILABLE
    assert "OPENAI_KEY, OTHER" in error.message


def test_too_little_memory_is_refused_with_the_numbers() -> None:
    error = refusal(SMALL, replace(FACTS, committed_mib=1700))
    assert error.code is ErrorCode.UNAVAILABLE
    assert error.data == {"needed_mib": 320, "available_mib": 188, "total_mib": 2048}
    assert all(number in error.message for number in ("320", "188", "2048", "1700"))
    assert made(SMALL, replace(FACTS, committed_mib=1568)).limits.memory_max_mib == 320


def test_more_grants_than_devices_are_refused() -> None:
    paths = ", ".join(f'"/data/p{number}"' for number in range(MAX_GRANTS + 1))
    error = refusal(SMALL + f"[capabilities.filesystem]\nread = [{paths}]")
    assert error.code is ErrorCode.INVALID
    assert f"room for {MAX_GRANTS}" in error.message
    assert len(FIXED_DEVICES) + MAX_GRANTS == 11


def test_a_command_line_that_does_not_fit_is_refused() -> None:
    noise = [os.urandom(200).hex() for _ in range(6)]
    error = refusal(SMALL + f"entrypoint = {json.dumps(['main.py', *noise])}")
    assert error.code is ErrorCode.INVALID
    assert "fit" in error.message


def test_an_old_library_that_cannot_do_it_safely_is_refused() -> None:
    error = refusal(SMALL, replace(FACTS, functions=exported(STABLE) - {"krun_add_virtiofs3"}))
    assert error.code is ErrorCode.UNAVAILABLE
    assert "read-only" in error.message


@pytest.mark.parametrize(
    ("percent", "cpus", "vcpus", "quota"),
    [
        (25, 2, 1, 50_000),
        (50, 2, 1, 100_000),
        (51, 2, 2, 102_000),
        (100, 2, 2, 200_000),
        (1, 1, 1, 1_000),
        (40, 4, 2, 160_000),
    ],
)
def test_shares_of_the_machine(percent: int, cpus: int, vcpus: int, quota: int) -> None:
    built = resources.limits(percent, 256, cpus=cpus)
    assert (built.vcpus, built.cpu_quota_us) == (vcpus, quota)
    assert built.cgroup_files()["cpu.max"] == f"{quota} 100000"
    assert built.cgroup_files()["memory.max"] == str(320 * 2**20)


@given(st.integers(1, 100), st.integers(64, 1 << 20), st.integers(1, 1024))
def test_limits_are_sane_on_any_machine(percent: int, memory: int, cpus: int) -> None:
    built = resources.limits(percent, memory, cpus=cpus)
    assert 1 <= built.vcpus <= min(cpus, 255)
    assert 1_000 <= built.cpu_quota_us <= cpus * resources.PERIOD_US
    assert built.memory_max_mib > built.ram_mib == memory
