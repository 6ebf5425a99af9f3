"""Effects: the file system that a sandboxed agent sees. All of it in a mount namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nullbox.cage.process_plan import CTX_SOCKET, LIBRARY_MOUNT
from nullbox.cage.sandbox.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    bind,
    mount,
)
from nullbox.cage.vmplan import VmPlan

DEVICES = ("null", "zero", "full", "random", "urandom")
"""Devices that hold no state and reach nobody."""

LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"))

HARMLESS = MS_NOSUID | MS_NODEV

VOLATILE = (
    ("tmp", HARMLESS, "mode=1777,size=64m"),
    ("run", HARMLESS | MS_NOEXEC, "mode=755,size=1m"),
    ("dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k"),
)
"""Memory file systems: where, mount flags, options. The agent may write below /tmp."""

ROOT_OPTIONS = "mode=755,size=1m"


def leave_the_hosts() -> None:
    """What is mounted from here on stays in this namespace."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def build(root: Path, plan: VmPlan, ctx_socket: Path, folders: Sequence[int]) -> None:
    """Put the agent's root together on the folder `root`. ctx_socket: of the relay, on the host. folders: descriptors
    of the plan's shares, in their order."""
    assert plan.process is not None
    mount("nullbox", str(root), "tmpfs", HARMLESS, ROOT_OPTIONS)
    for path in plan.process.system:
        show(Path(path), root)
    show(Path(plan.process.library), root, LIBRARY_MOUNT)
    for share, folder in zip(plan.shares, folders, strict=True):
        assert share.guest is not None
        show(Path(f"/proc/self/fd/{folder}"), root, share.guest, read_only=share.read_only)
    for name, flags, options in VOLATILE:
        (root / name).mkdir()
        mount("nullbox", str(root / name), "tmpfs", flags, options)
    for name in DEVICES:
        make_file(root / "dev" / name)
        # Not `bind`: a device on a mount without devices would be none.
        mount(f"/dev/{name}", str(root / "dev" / name), flags=MS_BIND)
    for name, target in LINKS:
        (root / "dev" / name).symlink_to(target)
    (root / "proc").mkdir()
    mount("proc", str(root / "proc"), "proc", HARMLESS | MS_NOEXEC)
    show(ctx_socket, root, CTX_SOCKET)
    write_names(root / "etc", plan)


def seal(root: str = "/") -> None:
    """The root itself is done: nothing is made on it any more."""
    mount("nullbox", root, flags=MS_REMOUNT | MS_RDONLY | HARMLESS)


def show(source: Path, root: Path, at: str | None = None, *, read_only: bool = True) -> None:
    """Show a path of the host below `root`, at its own place unless `at` says where. What does not exist is left out
    if it is shown at its own place, as not every host has all of it. A symbolic link there becomes one here."""
    target = root / (at or str(source)).lstrip("/")
    if at is None and not os.path.lexists(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if at is None and source.is_symlink():
        target.symlink_to(source.readlink())
        return
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        make_file(target)
    bind(str(source), str(target), read_only=read_only)


def make_file(path: Path) -> None:
    """An empty file to mount on."""
    path.touch(mode=0o644)


def write_names(folder: Path, plan: VmPlan) -> None:
    """Who is who, and who answers questions about names."""
    assert plan.process is not None
    folder.mkdir(exist_ok=True)
    user, group = plan.process.uid, plan.process.gid
    files: dict[str, Sequence[str]] = {
        "passwd": (f"agent:x:{user}:{group}::/tmp:/bin/false",),
        "group": (f"agent:x:{group}:",),
        "hosts": ("127.0.0.1 localhost", f"127.0.0.1 {plan.agent}"),
        "nsswitch.conf": ("passwd: files", "group: files", "hosts: files dns"),
    }
    if plan.link is not None:
        files["resolv.conf"] = (f"nameserver {plan.link.gateway_address}", "options timeout:2 attempts:2")
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
