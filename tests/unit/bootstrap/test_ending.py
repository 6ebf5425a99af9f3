"""The end of the machine as a trace; and the reset, which leaves an empty partition or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from recording import RecordingHost

from nullbox.bootstrap import crash, ending
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.hold import hold_text
from nullbox.bootstrap.log import KernelLog

UEVENT = "DEVNAME=vdb1\nDEVTYPE=partition\nPARTNAME=STATE\n"


@pytest.fixture(autouse=True)
def nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own children are not the machine's."""
    monkeypatch.setattr(ending, "_wait_for_all", lambda seconds: None)


@pytest.fixture
def log(tmp_path: Path) -> KernelLog:
    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    return KernelLog(str(kmsg))


def test_off_saves_ends_everybody_and_leaves_a_whole_file_system(log: KernelLog) -> None:
    host = RecordingHost()
    ending.end(host, log, "off")
    assert host.trace == [
        "replace /var/lib/nullbox/random-seed 600",
        "replace /var/lib/nullbox/clock 644",
        "kill -1 15",
        "kill -1 9",
        "sync",
        "unmount /var",
        "reboot 0x4321fedc",
    ]


def test_a_reset_empties_the_partition_after_it_was_unmounted(log: KernelLog, tmp_path: Path) -> None:
    host = RecordingHost()
    host.devices["vdb1"] = (UEVENT, b"\x01" * 4096)
    ending.end(host, log, "reset")
    assert host.trace[-3:] == ["unmount /var", "wipe_device vdb1", "reboot 0x1234567"]
    assert not any(host.devices["vdb1"][1])
    assert "vdb1 is empty" in (tmp_path / "kmsg").read_text()


def test_what_is_still_in_use_is_not_emptied_and_that_is_said(log: KernelLog, tmp_path: Path) -> None:
    host = RecordingHost({"unmount": OSError(16, "busy")})
    host.devices["vdb1"] = (UEVENT, b"\x01" * 4096)
    ending.end(host, log, "reset")
    assert all(host.devices["vdb1"][1])
    assert host.trace[-1] == "reboot 0x1234567"
    assert "was not emptied" in (tmp_path / "kmsg").read_text()


@pytest.mark.parametrize("refused", ["replace", "unmount", "wipe_device"])
def test_nothing_that_goes_wrong_keeps_the_machine_from_ending(log: KernelLog, refused: str) -> None:
    host = RecordingHost({refused: OSError(5, "I/O error")})
    host.devices["vdb1"] = (UEVENT, bytes(4096))
    for how in ("off", "reboot", "reset"):
        ending.end(host, log, how)
        assert host.trace[-1].startswith("reboot")


# --- what a crash left


def test_the_kernels_last_log_is_kept_and_taken_out_of_pstore() -> None:
    host = RecordingHost()
    host.files["/sys/fs/pstore/dmesg-ramoops-0"] = b"Panic#1 Part1\n<0>[ 12.3] Kernel panic - not syncing\n"
    host.files["/sys/fs/pstore/console-ramoops-0"] = b"the console"
    said = crash.collect(host, Cmdline())
    assert said is not None
    assert "/var/log/nullbox/kernel/1800000000-dmesg-ramoops-0" in said
    kept = {name: text for name, text in host.files.items() if name.startswith(crash.KERNEL_LOGS)}
    assert len(kept) == 2
    assert not [name for name in host.files if name.startswith("/sys/fs/pstore")]
    assert b"not syncing" in host.files[crash.LAST_KERNEL]


def test_the_console_of_a_boot_that_ended_well_is_no_crash() -> None:
    host = RecordingHost()
    host.files["/sys/fs/pstore/console-ramoops-0"] = b"power off: done"
    assert crash.collect(host, Cmdline()) is None
    assert not [name for name in host.files if name.startswith((crash.KERNEL_LOGS, crash.LAST_KERNEL))]


def test_a_kernel_without_pstore_is_no_problem() -> None:
    assert crash.collect(RecordingHost({"mount /sys/fs/pstore": OSError(19, "No such device")}), Cmdline()) is None


def test_old_logs_make_room() -> None:
    host = RecordingHost()
    for n in range(crash.KEEP + 5):
        host.files[f"{crash.KERNEL_LOGS}/17{n:08}-dmesg-ramoops-0"] = b"x"
    crash.collect(host, Cmdline())
    assert len(host.entries(crash.KERNEL_LOGS)) == crash.KEEP


def test_the_hold_shows_reason_reports_and_what_to_do() -> None:
    host = RecordingHost()
    host.files[crash.LAST_REPORT] = b"egress: RuntimeError: no\nTraceback \x1b[31m\n  File x\nRuntimeError: no\n"
    text = "\n".join(hold_text("it ended 6 times", crash.reports(host)))
    assert "reason: it ended 6 times" in text
    assert "last crash report:" in text
    assert "  | RuntimeError: no" in text
    assert "\x1b" not in text
    assert "To go on:" in text


def test_the_hold_is_short_whatever_was_reported() -> None:
    host = RecordingHost()
    host.files[crash.LAST_REPORT] = ("x" * 5000 + "\n").encode() * 500
    lines = hold_text("r", crash.reports(host))
    assert len(lines) < 24
    assert max(map(len, lines)) < 200
