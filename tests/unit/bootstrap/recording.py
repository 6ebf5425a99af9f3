"""The in-memory twin of `LinuxHost`: records every call, fails where it is told to."""

from __future__ import annotations

from collections.abc import Sequence

from nullbox.bootstrap.mounts import Mount


class RecordingHost:
    """`refuse` maps the beginning of a trace line to the error that call then raises."""

    def __init__(self, refuse: dict[str, OSError] | None = None) -> None:
        self.trace: list[str] = []
        self._refuse = refuse or {}

    def _call(self, line: str) -> None:
        self.trace.append(line)
        for beginning, error in self._refuse.items():
            if line.startswith(beginning):
                raise error

    def mount(self, mount: Mount) -> None:
        self._call(f"mount {mount.target} {mount.fstype}")

    def open_console(self) -> None:
        self._call("open_console")

    def set_hostname(self, name: str) -> None:
        self._call(f"set_hostname {name}")

    def write(self, path: str, text: str) -> None:
        self._call(f"write {path} {text}")

    def read(self, path: str) -> str:
        self._call(f"read {path}")
        return ""

    def make_directory(self, path: str, mode: int) -> None:
        self._call(f"make_directory {path} {mode:o}")

    def prove_read_only(self, directory: str) -> None:
        self._call(f"prove_read_only {directory}")

    def loopback_up(self) -> None:
        self._call("loopback_up")

    def disable_ctrl_alt_del(self) -> None:
        self._call("disable_ctrl_alt_del")

    def spawn(self, argv: Sequence[str], env: dict[str, str], heartbeat_fd: int) -> int:
        self._call("spawn")
        return 4711

    def kill(self, pid: int, signum: int) -> None:
        self._call(f"kill {pid} {signum}")

    def sync(self) -> None:
        self._call("sync")

    def reboot(self, how: int) -> None:
        self._call(f"reboot {how:#x}")
