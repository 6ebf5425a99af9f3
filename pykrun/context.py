"""A machine being configured: typed methods over the calls, the same for every build of libkrun."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

from pykrun import recipes
from pykrun.errors import KrunError
from pykrun.lib import Library


class Context:
    """One libkrun context, from `krun_create_ctx` to `start_enter` or `free`.

    Use it as a context manager, so that it is freed if it is not started. Methods raise `KrunError` when libkrun
    refuses, `TypeError` and `ValueError` for arguments that it is never given, and `recipes.Unsupported` or
    `MissingFunction` for what the build cannot do.
    """

    def __init__(self, library: Library | None = None) -> None:
        self.library = library if library is not None else Library.find()
        self._exported = self.library.functions
        self.number: int | None = self.library.call("krun_create_ctx")
        self._keep: list[Any] = []

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def call(self, name: str, *values: Any) -> Any:
        """Any function of the table that takes a context; this one is put in front."""
        if self.number is None:
            raise ValueError(f"{name}: this context was freed or started")
        return self.library.call(name, self.number, *values)

    def run(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """Calls as data (see `recipes`), in order."""
        for name, values in calls:
            self.call(name, *values)

    def free(self) -> None:
        """Drop the context. Once is enough, twice does no harm."""
        if self.number is not None:
            number, self.number = self.number, None
            self.library.call("krun_free_ctx", number)

    # --- the machine ---------------------------------------------------------------------------------------

    def set_vm_config(self, vcpus: int, ram_mib: int) -> None:
        """Number of virtual CPUs, and memory in MiB."""
        self.call("krun_set_vm_config", vcpus, ram_mib)

    def set_root(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        """The host folder that is the guest's `/`."""
        self.run(recipes.root(self._exported, os.fspath(path), read_only=read_only))

    def add_share(self, tag: str, path: str | os.PathLike[str], *, read_only: bool = False, dax_bytes: int = 0) -> None:
        """Another folder, which the guest mounts with `mount -t virtiofs TAG /where`."""
        shared = recipes.share(self._exported, tag, os.fspath(path), read_only=read_only, dax_bytes=dax_bytes)
        self.run(shared)

    def add_vsock(self, *, tsi: int = 0) -> None:
        """The vsock device; before the ports. tsi: 1 internet and 2 Unix sockets impersonated by the host, 0 none."""
        self.run(recipes.vsock(self._exported, tsi=tsi))

    def add_vsock_port(self, port: int, path: str | os.PathLike[str], *, listen: bool = False) -> None:
        """Tie a vsock port to a Unix socket. listen: libkrun makes the socket, and the guest listens on the port."""
        self.call("krun_add_vsock_port2", port, os.fspath(path), listen)

    def add_tap(self, name: str, mac: str | bytes, *, features: int = 0, flags: int = 0) -> None:
        """A network card on a TAP device of the host."""
        self.call("krun_add_net_tap", name, mac, features, flags)

    def add_console(self, input_fd: int = -1, output_fd: int = -1, error_fd: int = -1) -> None:
        """A console on descriptors, which have to stay open as long as the machine runs; -1 for none."""
        self.run(recipes.console(self._exported, input_fd, output_fd, error_fd))

    def set_console_output(self, path: str | os.PathLike[str]) -> None:
        """The console's output appended to a file."""
        descriptor = -1
        if "krun_set_console_output" not in self._exported:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.run(recipes.console_file(self._exported, os.fspath(path), descriptor))

    # --- what runs in it -----------------------------------------------------------------------------------

    def set_exec(self, path: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """The program, the arguments after its name, and its whole environment (empty unless given).

        Raises:
            ValueError: a text holds `"` or anything but printable ASCII, which the kernel's command line cannot
                carry. libkrun itself ends the whole process over a line break there.
        """
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        for text in (path, *arguments, *variables):
            if '"' in text or not (text.isascii() and text.isprintable()):
                raise ValueError(
                    f"the kernel's command line carries printable ASCII without double quotes, not {text!r}"
                )
        self.call("krun_set_exec", path, list(arguments), variables)

    def set_workdir(self, path: str) -> None:
        """Working directory of the program."""
        self.call("krun_set_workdir", path)

    def set_rlimits(self, limits: Sequence[str]) -> None:
        """Resource limits of the program, each `RESOURCE=SOFT:HARD`."""
        self.call("krun_set_rlimits", list(limits))

    def setuid(self, uid: int) -> None:
        """User id of the VMM from just before the guest starts."""
        self.call("krun_setuid", uid)

    def setgid(self, gid: int) -> None:
        """Group id of the VMM from just before the guest starts."""
        self.call("krun_setgid", gid)

    def start_enter(self) -> NoReturn:
        """Start the machine. This process becomes it, and ends with the program's exit code.

        Raises:
            KrunError: the machine could not be built.
        """
        number, self.number = self.number, None
        if number is None:
            raise ValueError("krun_start_enter: this context was freed or started")
        result = self.library.call("krun_start_enter", number)
        raise KrunError(22, "krun_start_enter", str(number), f"it returned {result} without an error")
