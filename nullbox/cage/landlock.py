"""Landlock: what this process may do with files, whatever its user may (edge module: system calls).

Every right that the kernel knows is taken, and given back below single folders only. What is open stays open. The rules
hold for this process and all that it starts, and nobody can take them back.

Sources: landlock(7), Linux Documentation/userspace-api/landlock.rst, linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from types import MappingProxyType

SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))

LEAST_ABI = 3
"""Linux 6.2: the first one in which a file that may not be written cannot be truncated either."""
IOCTL_ABI = 5
SCOPE_ABI = 6
FILES = (1 << 13) - 1 | REFER | TRUNCATE
TCP = 0b11
"""Binding and connecting; from version 4 on."""
SCOPES = 0b11
"""Abstract Unix sockets of others, and signals to others; from version 6 on."""

USES = MappingProxyType(
    {
        "read": READ_FILE | READ_DIR,
        "write": (FILES | IOCTL_DEV) & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV),
        "connect": 0,
        "listen": MAKE_SOCK,
        "device": READ_FILE | WRITE_FILE | IOCTL_DEV,
    }
)
"""Use of a folder or device (`vmplan.Bind.use`) → rights below it. Connecting to a socket by its path is none of
them."""


def abi() -> int:
    """The kernel's version of Landlock; 0: it has none, or it is switched off."""
    version = _libc().syscall(SYS_CREATE_RULESET, None, ctypes.c_size_t(0), CREATE_RULESET_VERSION)
    return max(0, int(version))


def handled(version: int) -> tuple[int, int, int]:
    """What a kernel of that version can take away: rights to files, rights to TCP, scopes. Pure."""
    files = FILES | (IOCTL_DEV if version >= IOCTL_ABI else 0)
    return files, TCP if version >= 4 else 0, SCOPES if version >= SCOPE_ABI else 0


def restrict(rules: Iterable[tuple[str, str]]) -> None:
    """Take everything, and give back (path, use) by use. The process must have no_new_privs.

    Raises:
        OSError: the kernel has no Landlock, or one that is too old, or a path is not there.
    """
    version = abi()
    if version < LEAST_ABI:
        found = f"version {version} of it" if version else "none"
        raise OSError(
            errno.EOPNOTSUPP, f"the kernel needs Landlock of version {LEAST_ABI} (Linux 6.2), and has {found}"
        )
    files, tcp, scopes = handled(version)
    attributes = struct.pack("=QQQ", files, tcp, scopes)[: 24 if scopes else 16 if tcp else 8]
    ruleset = _checked(_libc().syscall(SYS_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path, use in rules:
            rights = USES[use] & files
            if rights:
                _add(ruleset, path, rights)
        _checked(_libc().syscall(SYS_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, folder)  # struct landlock_path_beneath_attr is packed
        _checked(_libc().syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(folder)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
