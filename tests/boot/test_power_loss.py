"""Power lost again and again, during boot and during writes, on one disk: nothing that was acknowledged is ever gone.

The machine has no agents, so that a boot is short. A boot is cut off when its console has reached a random length, a
run of writes when a random number of them was acknowledged. NULLBOX_SEED repeats a campaign, NULLBOX_CUTS sets its
length.
"""

from __future__ import annotations

import json
import os
import random
import socket
from pathlib import Path
from typing import Any

import pytest
from operator_view import Machine, booted, until
from state_disk import StateDisk, ctxgraph_of
from writer import Writer

from nullbox.host import run

ROOT = Path(__file__).resolve().parents[2]
FIRST_CUT, LAST_CUT = 11_000, 22_000
"""Bytes of the console: from the mounting of the root to the end of the start."""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_power_is_lost_twenty_times(tmp_path: Path) -> None:
    seed = int(os.environ.get("NULLBOX_SEED", random.SystemRandom().randrange(10**9)))
    cuts = int(os.environ.get("NULLBOX_CUTS", "20"))
    print(f"NULLBOX_SEED={seed} NULLBOX_CUTS={cuts}")
    number = random.Random(seed)
    disk = StateDisk.create(tmp_path / "state.img", 64)
    acknowledged: list[dict[str, Any]] = []
    for turn in range(cuts):
        scratch = tmp_path / f"turn{turn}"
        scratch.mkdir()
        if turn % 2:
            cut_writes(scratch, disk, acknowledged, number.randrange(1, 120))
        else:
            cut_boot(scratch, disk, number.randrange(FIRST_CUT, LAST_CUT))
        if acknowledged:
            lost = {each["hash"] for each in acknowledged} - ctxgraph_of(disk, scratch)
            assert not lost, f"turn {turn} of seed {seed}: {len(lost)} of {len(acknowledged)} are gone"
    with booted(ROOT / "build", tmp_path / "last", "bare.squashfs", state=disk.path) as machine:
        assert machine.json("status")["state"]["kind"] == "disk"
        assert machine.nullctl("ctx", "verify", timeout=300).code == 0
        assert sum(writer["entries"] for writer in machine.json("ctx", "agents")) >= len(acknowledged)
    print(f"{cuts} losses of power, {len(acknowledged)} acknowledged writes, all there")


def cut_writes(scratch: Path, disk: StateDisk, acknowledged: list[dict[str, Any]], count: int) -> None:
    with booted(ROOT / "build", scratch, "bare.squashfs", state=disk.path) as machine:
        assert machine.json("status")["state"]["kind"] == "disk", machine.json("status")["state"]
        writer = Writer(machine.folder.socket, f"turn{scratch.name}")
        writer.start()
        until(lambda: len(writer.acknowledged) >= count or writer.failed, seconds=120, what="acknowledged writes")
        assert not writer.failed
        machine.lose_power()
        writer.join()
        acknowledged += writer.acknowledged


def cut_boot(scratch: Path, disk: StateDisk, length: int) -> None:
    with booted(ROOT / "build", scratch, "bare.squashfs", state=disk.path, wait=False) as machine:

        def grown() -> bool:
            assert run.running(machine.folder), machine.console()
            return machine.folder.console.stat().st_size >= length or "is healthy" in machine.console()

        until(grown, seconds=120, what=f"{length} bytes on the console", every=0.02)
        machine.lose_power()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_kernels_last_words_outlive_a_crash(tmp_path: Path) -> None:
    """An NMI that nobody expects ends the kernel; it reboots by itself, and the next boot keeps what it said."""
    disk = StateDisk.create(tmp_path / "state.img", 64)
    control = tmp_path / "control.sock"
    extra = ("-chardev", f"socket,id=control,path={control},server=on,wait=off", "-mon", "chardev=control,mode=control")
    append = ("unknown_nmi_panic", "panic=2")
    with booted(
        ROOT / "build", tmp_path, "bare.squashfs", state=disk.path, append=append, reboots=True, extra=extra
    ) as machine:
        boot_id = events_of(machine)[-1]["boot_id"]
        inject_nmi(control)
        until(lambda: "Kernel panic" in machine.console(), seconds=60, what="the panic")
        crashed = until(
            lambda: next((each for each in events_of(machine) if each["boot_id"] != boot_id), None),
            seconds=240,
            what="the boot after the crash",
            every=1.0,
        )
        assert "Kernel panic" in crashed["kernel_crash"]
        assert "the last boot ended in a crash of the kernel" in machine.console()
        machine.ok("power", "off", "--yes")
        until(lambda: run.running(machine.folder) is None, seconds=90, what="the machine to be off")
    assert [name for name in disk.names("/log/nullbox/kernel", tmp_path / "partition") if "dmesg-ramoops" in name]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_system_that_cannot_be_kept_up_holds_and_shows_why(tmp_path: Path) -> None:
    """ctxgraph cannot open its store, since a folder lies in its place: each start of the tree gives up, and in the
    end the machine holds instead of starting over for ever."""
    (tmp_path / "content/lib/nullbox/ctxgraph.sqlite").mkdir(parents=True)
    disk = StateDisk.create(tmp_path / "state.img", 64)
    disk.fill(tmp_path / "content", tmp_path / "partition")
    with booted(ROOT / "build", tmp_path, "bare.squashfs", state=disk.path, wait=False) as machine:
        until(lambda: "NullBox: recovery hold" in machine.console(), seconds=900, what="the hold", every=1.0)
        shown = machine.console().partition("recovery hold")[2]
        until(lambda: "To go on:" in machine.console(), seconds=30, what="what to do")
        shown = machine.console().partition("recovery hold")[2]
        assert "reason: the actor system ended 6 times" in shown
        assert "last crash report:" in shown
        assert "ctxgraph" in shown


def events_of(machine: Machine) -> list[dict[str, Any]]:
    done = machine.nullctl("-o", "json", "events")
    found = [] if done.code else [json.loads(line) for line in done.out.splitlines()]
    return [event for event in found if event["kind"] == "boot"]


def inject_nmi(control: Path) -> None:
    """QMP's `inject-nmi` (QEMU QMP Reference Manual)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30.0)
        connection.connect(str(control))
        stream = connection.makefile("rw")
        for command in ("qmp_capabilities", "inject-nmi"):
            stream.write(json.dumps({"execute": command}) + "\n")
            stream.flush()
            while "return" not in json.loads(stream.readline()):
                pass
