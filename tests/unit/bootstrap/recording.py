"""The in-memory twin of `LinuxHost`: records every call, fails where it is told to, holds files and disks itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nullbox.bootstrap.mounts import Mount


class RecordingHost:
    """`refuse` maps the beginning of a trace line to the error that call then raises.

    files: content by path. devices: uevent text and content of each block device. programs: what a program ends with,
    by its path: (status, output); whatever is not named succeeds in silence. cards: network cards.
    """

    def __init__(self, refuse: dict[str, OSError] | None = None) -> None:
        self.trace: list[str] = []
        self.mounted: dict[str, Mount] = {}
        self._refuse = refuse or {}
        self.files: dict[str, bytes] = {}
        self.devices: dict[str, tuple[str, bytes]] = {}
        self.programs: dict[str, tuple[int, str]] = {}
        self.cards: list[str] = []
        self.time = 1_800_000_000.0
        self.stirred: list[bytes] = []
        self._random = 0

    def _call(self, line: str) -> None:
        self.trace.append(line)
        for beginning, error in self._refuse.items():
            if line.startswith(beginning):
                raise error

    def mount(self, mount: Mount) -> None:
        self.mounted[mount.target] = mount
        self._call(f"mount {mount.target} {mount.fstype}" + (f" {mount.source}" if mount.source else ""))

    def unmount(self, target: str) -> None:
        self._call(f"unmount {target}")

    def block_devices(self) -> dict[str, str]:
        return {name: uevent for name, (uevent, _) in self.devices.items()}

    def device_size(self, device: str) -> int:
        return len(self.devices[device][1])

    def read_device(self, device: str, length: int) -> bytes:
        self._call(f"read_device {device}")
        return self.devices[device][1][:length]

    def wipe_device(self, device: str) -> None:
        self._call(f"wipe_device {device}")
        uevent, content = self.devices[device]
        self.devices[device] = (uevent, bytes(len(content)))

    def run(self, argv: Sequence[str], seconds: float) -> tuple[int, str]:
        self._call(f"run {argv[0]} {argv[-1]}")
        return self.programs.get(argv[0], (0, ""))

    def open_console(self) -> None:
        self._call("open_console")

    def set_hostname(self, name: str) -> None:
        self._call(f"set_hostname {name}")

    def write(self, path: str, text: str) -> None:
        self._call(f"write {path} {text.strip()}")
        self.files[path] = text.encode()

    def read(self, path: str) -> str:
        return self.files.get(path, b"").decode()

    def read_file(self, path: str, most: int) -> bytes:
        return self.files.get(path, b"")[:most]

    def replace_file(self, path: str, content: bytes, mode: int) -> None:
        self._call(f"replace {path} {mode:o}")
        self.files[path] = content

    def remove(self, path: str) -> None:
        self._call(f"remove {path}")
        del self.files[path]

    def entries(self, path: str) -> list[str]:
        below = (name[len(path) + 1 :] for name in self.files if name.startswith(path + "/"))
        return sorted(name for name in below if "/" not in name)

    def random(self, count: int) -> bytes:
        self._random += 1
        return self._random.to_bytes(count, "big")

    def add_randomness(self, seed: bytes) -> None:
        self.stirred.append(seed)

    def now(self) -> float:
        return self.time

    def set_clock(self, seconds: float) -> None:
        self._call(f"set_clock {seconds:.0f}")
        self.time = seconds

    def make_directory(self, path: str, mode: int) -> None:
        self._call(f"make_directory {path} {mode:o}")

    def prove_read_only(self, directory: str) -> None:
        self._call(f"prove_read_only {directory}")

    def loopback_up(self) -> None:
        self._call("loopback_up")

    def network_cards(self) -> list[str]:
        return self.cards

    def disable_ctrl_alt_del(self) -> None:
        self._call("disable_ctrl_alt_del")

    def start(self, argv: Sequence[str]) -> int:
        self._call(f"start {' '.join(argv[-3:])}")
        return 4712

    def fork(self, main: Callable[[], object], keep: int) -> int:
        self._call("fork")
        return 4711

    def kill(self, pid: int, signum: int) -> None:
        self._call(f"kill {pid} {signum}")

    def sync(self) -> None:
        self._call("sync")

    def reboot(self, how: int) -> None:
        self._call(f"reboot {how:#x}")
