"""Boot, as the whole ordered trace of what it asks of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from recording import RecordingHost

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.host import LinuxHost
from nullbox.bootstrap.log import Level
from nullbox.bootstrap.mounts import MOUNTS
from nullbox.bootstrap.phases import BOOT, EARLY, RUN_DIRECTORIES, STATE_DIRECTORIES, BootError, run_phases
from nullbox.bootstrap.sysctls import SYSCTLS


def boot(host: RecordingHost) -> list[tuple[str, Level]]:
    log: list[tuple[str, Level]] = []
    run_phases((*EARLY, *BOOT), host, Cmdline(hostname="box"), lambda t, level: log.append((t, level)), lambda: 0.0)
    return log


def test_the_whole_trace_in_order() -> None:
    host = RecordingHost()
    boot(host)
    assert host.trace == [
        *(f"mount {m.target} {m.fstype}" for m in MOUNTS),
        "write /proc/sys/kernel/printk_devkmsg on",
        "open_console",
        "disable_ctrl_alt_del",
        "prove_read_only /",
        *(f"write {s.path} {s.value}" for s in SYSCTLS),
        *(f"make_directory {path} {mode:o}" for path, mode in RUN_DIRECTORIES),
        "mount /var tmpfs",
        "replace /run/nullbox/state.json 644",
        *(f"make_directory {path} {mode:o}" for path, mode in STATE_DIRECTORIES),
        "replace /var/lib/nullbox/random-seed 600",
        "replace /var/lib/nullbox/machine-id 444",
        "replace /run/nullbox/machine-id 444",
        "set_hostname box",
        "mount /sys/fs/pstore pstore",
        "write /sys/fs/cgroup/cgroup.subtree_control +cpu",
        "write /sys/fs/cgroup/cgroup.subtree_control +memory",
        "write /sys/fs/cgroup/cgroup.subtree_control +pids",
        "write /sys/fs/cgroup/nullbox/cgroup.subtree_control +cpu",
        "write /sys/fs/cgroup/nullbox/cgroup.subtree_control +memory",
        "write /sys/fs/cgroup/nullbox/cgroup.subtree_control +pids",
        "loopback_up",
    ]


def test_a_fatal_failure_ends_the_boot_there_and_names_phase_task_and_cause() -> None:
    host = RecordingHost({"mount /run": OSError(12, "no memory")})
    with pytest.raises(BootError, match=r"boot phase mounts: cannot mount /run: .*no memory"):
        boot(host)
    assert host.trace[-1] == "mount /run tmpfs"


def test_a_tolerated_failure_is_logged_and_the_boot_goes_on() -> None:
    host = RecordingHost({"write /proc/sys/kernel/yama": OSError(2, "x"), "set_hostname": OSError(1, "no")})
    log = boot(host)
    warnings = [text for text, level in log if level is Level.WARNING]
    assert warnings == [
        "boot phase sysctls: cannot set kernel.yama.ptrace_scope: [Errno 2] x",
        "boot phase identity: cannot set the host name: [Errno 1] no",
    ]
    assert host.trace[-1] == "loopback_up"


def test_each_phase_logs_its_time() -> None:
    log = boot(RecordingHost())
    times = [text.split(":")[0] for text, _ in log if text.endswith(" s")]
    assert times == [f"boot phase {p.name}" for p in (*EARLY, *BOOT)]


def test_what_a_task_has_to_say_is_in_the_log() -> None:
    said = [text for text, _ in boot(RecordingHost())]
    assert any("/var is memory" in text and "no disk has a partition labelled STATE" in text for text in said)
    assert "boot phase network: no uplink: there is no network card" in said


def test_a_sysctl_that_keeps_another_value_is_said() -> None:
    class Stubborn(RecordingHost):
        def read(self, path: str) -> str:
            return "7\n" if path.endswith("kptr_restrict") else super().read(path)

    said = [text for text, _ in boot(Stubborn())]
    assert "boot phase sysctls: kernel.kptr_restrict is 7 after it was set to 2" in said


def test_a_writable_root_is_fatal() -> None:
    with pytest.raises(BootError, match="cannot prove that / is read-only"):
        boot(RecordingHost({"prove_read_only": PermissionError(1, "the file system can be written")}))


def test_the_real_proof_fails_where_one_can_write_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="can be written"):
        LinuxHost().prove_read_only(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
