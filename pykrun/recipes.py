"""Which calls do a thing on which build: pure functions from the exported names to calls.

Builds of libkrun differ in how a root, a console and a vsock device are asked for. Each recipe takes the names that a
library exports and returns calls as data, `(function, arguments without the context)`, in order.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pykrun.abi import Family

ROOT_TAG = "/dev/root"
"""The tag of the share that is the guest's root."""

Call = tuple[str, tuple[Any, ...]]


class Unsupported(ValueError):
    """No function of this build does what was asked for."""


def share(exported: Collection[str], tag: str, path: str, *, read_only: bool, dax_bytes: int = 0) -> list[Call]:
    """Share a folder under a tag.

    Raises:
        Unsupported: a read-only share was asked for and the build knows only writable ones.
    """
    if "krun_add_virtiofs3" in exported:
        return [("krun_add_virtiofs3", (tag, path, dax_bytes, read_only))]
    if read_only:
        raise Unsupported(
            f"this libkrun has no krun_add_virtiofs3, so the share {tag!r} cannot be read-only; use a newer libkrun"
        )
    if dax_bytes:
        return [("krun_add_virtiofs2", (tag, path, dax_bytes))]
    return [("krun_add_virtiofs", (tag, path))]


def root(exported: Collection[str], path: str, *, read_only: bool = False) -> list[Call]:
    """Make a folder the guest's root: as a share where shares can be roots, else with krun_set_root.

    Raises:
        Unsupported: read-only was asked for, and the build cannot.
    """
    if "krun_add_virtiofs3" in exported or "krun_set_root" not in exported:
        return share(exported, ROOT_TAG, path, read_only=read_only)
    if read_only:
        raise Unsupported(
            "this libkrun has no krun_add_virtiofs3, so the root cannot be read-only; use a newer libkrun"
        )
    return [("krun_set_root", (path,))]


def console(exported: Collection[str], input_fd: int, output_fd: int, error_fd: int) -> list[Call]:
    """A console on three descriptors, and no other.

    Raises:
        Unsupported: the build knows only the implicit console.
    """
    if "krun_add_virtio_console_default" not in exported:
        raise Unsupported(
            "this libkrun cannot put the console on descriptors (krun_add_virtio_console_default is missing); "
            "use krun_set_console_output with a file, or a newer libkrun"
        )
    calls: list[Call] = [("krun_add_virtio_console_default", (input_fd, output_fd, error_fd))]
    if "krun_disable_implicit_console" in exported:
        calls.insert(0, ("krun_disable_implicit_console", ()))
    return calls


def console_file(exported: Collection[str], path: str, descriptor: int) -> list[Call]:
    """The console's output into a file: by path where the console is implicit, else on a descriptor opened for it."""
    if "krun_set_console_output" in exported:
        return [("krun_set_console_output", (path,))]
    return console(exported, -1, descriptor, descriptor)


def vsock(exported: Collection[str], *, tsi: int = 0) -> list[Call]:
    """The vsock device with exactly these sockets impersonated by the host; 0: none.

    Raises:
        Unsupported: the build adds vsock by itself and that cannot be switched off or chosen.
    """
    if "krun_add_vsock" not in exported:
        raise Unsupported(
            "this libkrun impersonates the guest's sockets and cannot be told not to (krun_add_vsock is missing); "
            "use a newer libkrun"
        )
    calls: list[Call] = [("krun_add_vsock", (tsi,))]
    if "krun_disable_implicit_vsock" in exported:
        calls.insert(0, ("krun_disable_implicit_vsock", ()))
    return calls


def family(exported: Collection[str]) -> Family:
    """The family a build most likely belongs to, by what it alone exports."""
    if "krun_get_last_error" in exported:
        return Family.SMOLMACHINES
    return Family.STABLE if "krun_set_root" in exported else Family.DEVELOPMENT
