"""PID 1 of a hosted instance: what it does and, above all, what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from recording import RecordingHost

from nullbox.bootstrap import hosted
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.phases import run_phases

OPTIONS = hosted.Options(Path("/srv/one"), Path("/sys/fs/cgroup/nullbox-1"), "process")


class Recording(RecordingHost, hosted.HostedHost):
    """Records the calls of a hosted instance, too."""

    def __init__(self, options: hosted.Options) -> None:
        RecordingHost.__init__(self)
        self.options = options

    def separate(self) -> None:
        self._call("separate")

    def bind(self, source: Path, target: str) -> None:
        self._call(f"bind {source} {target}")

    def show_image(self) -> None:
        self._call("show_image")


def trace(options: hosted.Options = OPTIONS) -> list[str]:
    host = Recording(options)
    run_phases(hosted.phases(host), host, Cmdline(), lambda text, level: None, lambda: 0.0)
    return host.trace


def test_namespaces_come_first_and_nothing_of_the_hosts_is_touched() -> None:
    lines = trace()
    assert lines[:5] == [
        "separate",
        "mount /proc proc",
        "mount /sys sysfs",
        "mount /sys/fs/cgroup cgroup2",
        "bind /srv/one/run /run",
    ]
    assert lines[-1] == "loopback_up"
    written = [line.split()[1] for line in lines if line.startswith("write ")]
    assert written
    assert all(path.startswith("/proc/sys/net/") for path in written)
    made = [line.split()[1] for line in lines if line.startswith("make_directory ")]
    assert all(path.startswith(("/run/", "/srv/one/var/")) for path in made)
    assert not {line.split()[0] for line in lines} & {
        *("open_console", "disable_ctrl_alt_del", "set_hostname", "prove_read_only", "reboot")
    }
    assert "show_image" not in lines


def test_microvms_have_the_image() -> None:
    with_image = hosted.Options(OPTIONS.state, OPTIONS.cgroup, "krun", Path("/srv/root.squashfs"))
    lines = trace(with_image)
    assert lines[lines.index("bind /srv/one/run /run") + 1] == "show_image"


def test_the_actor_system_is_told_where_it_is_and_which_driver() -> None:
    argv = hosted.nulld_argv(OPTIONS)
    assert argv[1] == "-I"
    assert argv[-4:] == ["--run=/run", "--state=/srv/one/var", "--system=/run/system", "--driver=process"]


def test_options_survive_the_command_line() -> None:
    words = ["--state=/srv/one", "--cgroup=/sys/fs/cgroup/nullbox-1", "--driver=process"]
    assert hosted.parse_arguments(words) == OPTIONS


def test_it_runs_as_pid_1_only() -> None:
    done = subprocess.run([sys.executable, "-m", "nullbox.bootstrap.hosted"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nullbox up" in done.stderr


def test_it_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import nullbox.bootstrap.hosted;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    root = str(Path(hosted.__file__).parents[2])
    done = subprocess.run([sys.executable, "-IS", "-c", code, root], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["nullbox"], done.stderr


def test_the_hosts_watchdog_clock_and_partitions_are_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's PID 1 saves clock and seed, takes /var off and may wipe a partition; this one must do none of it."""
    hosted.NoWatchdog("/nowhere").pet(healthy=True)
    codes: list[int] = []
    monkeypatch.setattr(hosted.os, "_exit", codes.append)
    monkeypatch.setattr(hosted, "end_processes", lambda host: host._call("end_processes"))
    host = Recording(OPTIONS)
    said: list[str] = []
    pid1 = hosted.HostedPid1(
        host, lambda text, level: said.append(text), Cmdline(), hosted.hosted_layout(OPTIONS), start=lambda _: 1
    )
    pid1.save()
    for how in ("off", "reboot", "reset"):
        pid1.end(how)
    pid1.hold("it would not start")
    assert codes == [0, hosted.REBOOT, hosted.REBOOT, hosted.GAVE_UP]
    assert host.trace == ["end_processes"] * 4
    assert said[-1] == "giving up: it would not start"
