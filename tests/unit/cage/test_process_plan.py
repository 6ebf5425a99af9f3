"""The development driver: what its plans hold, and what its sandbox asks of the kernel, where that is bytes."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage import drivers, planfile, process_plan
from nullbox.cage.cgroup import CgroupTree
from nullbox.cage.manifest import parse
from nullbox.cage.plan import Site
from nullbox.cage.process_plan import ProcessFacts, plan_process, system_paths
from nullbox.cage.sandbox import network, privileges
from nullbox.cage.vmplan import Link, ProcessSpec
from nullbox.egress import veth
from nullbox.egress.slots import slot_of_tap
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout

FACTS = ProcessFacts(2, 2048, 0, "/usr/bin/python3.11", "/usr", "/opt/nullbox/guest")
LINK = Link("nb7", "5a:94:ef:00:00:07", "10.90.0.30", "10.90.0.29", 30)
SITE = Site(
    1879048200,
    "/system/guest",
    "/agents/a",
    "/var/data",
    "/run/ctx/a/sock",
    "/run/a/control.sock",
    "/c",
    "/f",
    "/j",
    "/g",
)
TEXT = """
[agent]
name = "a"
version = "1.2.0"
runtime = "python"
entrypoint = ["main.py", "--fast"]
[capabilities]
max_cpu_percent = 50
[capabilities.filesystem]
read = ["/data/in"]
write = ["/data/out"]
"""


def test_a_plan_without_a_vm() -> None:
    plan = plan_process(parse(TEXT), FACTS, SITE, LINK)
    assert plan.calls == ()
    assert [(share.guest, share.host, share.read_only) for share in plan.shares] == [
        ("/agent", "/agents/a", True),
        ("/data/in", "/var/data/in", True),
        ("/data/out", "/var/data/out", False),
    ]
    assert plan.limits.cpu_quota_us == 100_000
    spec = plan.process
    assert spec is not None
    assert spec.argv == ("/usr/bin/python3.11", "/agent/main.py", "--fast")
    assert spec.uid == spec.gid == 1879048200
    assert dict(spec.environment)["NULLBOX_CTX_SOCKET"] == process_plan.CTX_SOCKET
    assert planfile.loads(planfile.dumps(plan)) == plan


def test_a_binary_is_run_as_it_is() -> None:
    plan = plan_process(parse('[agent]\nname = "a"\n'), FACTS, SITE, None)
    assert plan.process is not None
    assert plan.process.argv == ("/agent/a",)


def test_what_is_refused_for_a_vm_is_refused_for_a_process() -> None:
    asks = '[agent]\nname = "a"\n[capabilities]\ncredential_refs = ["KEY"]\n'
    with pytest.raises(NullBoxError, match="KEY") as caught:
        plan_process(parse(asks), FACTS, SITE, LINK)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    large = '[agent]\nname = "a"\n[capabilities]\nmax_memory_mb = 4000\n'
    with pytest.raises(NullBoxError, match="not enough memory"):
        plan_process(parse(large), FACTS, SITE, LINK)


def test_the_interpreters_installation_is_shown_wherever_it_is() -> None:
    assert system_paths("/usr") == process_plan.SYSTEM_PATHS
    assert system_paths("/usr/local") == process_plan.SYSTEM_PATHS
    assert system_paths("/opt/python")[-1] == "/opt/python"
    assert "/opt/python" in system_paths("/opt/python")
    assert system_paths("/usrx")[-1] == "/usrx"


def test_the_two_ends_of_a_pair_have_one_name_for_it() -> None:
    assert veth.PEER_SUFFIX == process_plan.PEER_SUFFIX
    assert slot_of_tap(LINK.tap + veth.PEER_SUFFIX) is None


def test_no_driver_is_chosen_for_another(tmp_path: Path) -> None:
    for name in ("", "vm", "KRUN"):
        with pytest.raises(NullBoxError, match="allowed: krun, process"):
            drivers.make_plan(name, parse(TEXT), CgroupTree(tmp_path), Layout(), SITE, LINK)
    assert drivers.cgroups_of("process").partial
    assert not drivers.cgroups_of("krun").partial


def test_an_agent_is_never_root() -> None:
    spec = ProcessSpec((), "", (), (), "", "", "", 0, 0)
    with pytest.raises(OSError, match="never root"):
        privileges.own_user(spec)


def test_the_request_that_moves_a_device() -> None:
    raw = network.move_request(5, 9, "5a:94:ef:00:00:07")
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", raw)
    assert (length, kind, flags) == (len(raw), network.RTM_NEWLINK, network.NLM_F_REQUEST | network.NLM_F_ACK)
    assert struct.unpack_from("=BxHiII", raw, 16) == (0, 0, 5, 0, 0)
    found, rest = {}, raw[32:]
    while rest:
        size, name = struct.unpack_from("=HH", rest)
        found[name] = rest[4:size]
        rest = rest[(size + 3) & ~3 :]
    assert found == {
        network.IFLA_NET_NS_FD: struct.pack("=I", 9),
        network.IFLA_IFNAME: b"eth0\0",
        network.IFLA_ADDRESS: bytes.fromhex("5a94ef000007"),
    }


@given(st.integers(0, 0xFFFF), st.binary(max_size=64))
def test_an_attribute_is_padded(kind: int, value: bytes) -> None:
    raw = network.attribute(kind, value)
    assert len(raw) % 4 == 0
    assert struct.unpack_from("=HH", raw) == (4 + len(value), kind)
    assert raw[4 : 4 + len(value)] == value


def test_an_acknowledgement_says_what_failed() -> None:
    good = struct.pack("=IHHIIi", 36, network.NLMSG_ERROR, 0, 1, 0, 0)
    bad = struct.pack("=IHHIIi", 36, network.NLMSG_ERROR, 0, 1, 0, -errno.EPERM)
    assert (network.answer(good), network.answer(bad)) == (0, errno.EPERM)
