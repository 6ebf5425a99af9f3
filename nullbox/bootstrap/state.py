"""Where the machine keeps what is to last, decided (pure): on the partition labelled STATE, or in memory, and why.

The label decides, never a guess: no such partition, two of them, or one that holds somebody else's data leave the
system in memory, where it runs and says so. See docs/design/state.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Final

from nullbox.bootstrap.mounts import HARDENED, MS_NOATIME, Mount
from nullbox.bootstrap.partitions import STATE_LABEL, Content

MOUNT_POINT: Final = "/var"
LEAST_BYTES: Final = 16 << 20
"""Smaller partitions have no room for a journal and a store."""

KEPT_FOR_ROOT: Final = 5
"""Percent of the blocks that root alone may use. Agents write below `/data` as users of their own, so however much they
write, this much is left to ctxgraph, the journal and the logs."""

MKE2FS: Final = "/usr/sbin/mke2fs"
E2FSCK: Final = "/usr/sbin/e2fsck"

FEATURES: Final = (
    "has_journal",
    "ext_attr",
    "dir_index",
    "filetype",
    "extent",
    "64bit",
    "flex_bg",
    "sparse_super",
    "large_file",
    "huge_file",
    "dir_nlink",
    "extra_isize",
    "metadata_csum",
    "quota",
    "project",
)
"""Of the file system, all of them, so that no configuration file and no builtin default decides (ext4(5))."""


def in_memory() -> Mount:
    return Mount(MOUNT_POINT, "tmpfs", HARDENED, "mode=0755,size=40%", "logs and stores, until the machine is off")


def on_disk(device: str, *, quotas: bool) -> Mount:
    """`errors=remount-ro`: what is broken is not written to; nothing then claims to be saved that is not.

    quotas: enforce project quotas, for which the file system must have been made (`partitions.has_quotas`).
    """
    return Mount(
        MOUNT_POINT,
        "ext4",
        HARDENED | MS_NOATIME,
        "errors=remount-ro,prjquota" if quotas else "errors=remount-ro",
        "logs and stores, for good",
        source=f"/dev/{device}",
    )


def mkfs_argv(device: str) -> tuple[str, ...]:
    """mke2fs(8). Tables that need not be written now are written later by the kernel. Inodes of 256 bytes have room for
    the number of a project."""
    options = ("-q", "-F", "-t", "ext4", "-L", STATE_LABEL, "-m", str(KEPT_FOR_ROOT), "-I", "256")
    later = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,quotatype=prjquota"
    return (MKE2FS, *options, "-O", "none," + ",".join(FEATURES), "-E", later, f"/dev/{device}")


def fsck_argv(device: str) -> tuple[str, ...]:
    """e2fsck(8): replay the journal, look closely only if the file system says that it is damaged, repair what can be
    repaired without a question."""
    return (E2FSCK, "-p", f"/dev/{device}")


class Step(Enum):
    """What is to be done with the partition before it is mounted."""

    CREATE = "create"
    CHECK = "check"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Plan:
    """device: name below /dev; empty when the machine has to do with memory. why: for people."""

    step: Step
    device: str
    why: str


def plan(found: Sequence[str]) -> Plan:
    """Which of the partitions labelled STATE is used: the only one, or none."""
    if not found:
        return Plan(Step.NOTHING, "", f"no disk has a partition labelled {STATE_LABEL}")
    if len(found) > 1:
        return Plan(Step.NOTHING, "", f"{' and '.join(found)} are all labelled {STATE_LABEL}; one has to go")
    return Plan(Step.CHECK, found[0], f"{found[0]} is labelled {STATE_LABEL}")


def examine(device: str, size: int, content: Content, holds: str) -> Plan:
    """What to do with that partition. size: in bytes."""
    if size < LEAST_BYTES:
        return Plan(Step.NOTHING, device, f"{device} has {size} bytes; at least {LEAST_BYTES} are needed")
    if content is Content.EMPTY:
        return Plan(Step.CREATE, device, f"{device} is empty")
    if content is Content.EXT4:
        return Plan(Step.CHECK, device, f"{device} holds ext4")
    advice = "it is left alone; `nullctl power reset --state` gives it to this system"
    return Plan(Step.NOTHING, device, f"{device} holds {holds}: {advice}")


REPAIRED: Final = 1
UNREPAIRED: Final = 4


def verdict(code: int) -> tuple[bool, str]:
    """Whether the partition may be mounted after e2fsck ended with that status (a set of bits), and in words."""
    if code & ~3:
        what = "is damaged beyond what is repaired unasked" if code & UNREPAIRED else f"could not be checked ({code})"
        return False, f"{what}; repair it on another machine, or `nullctl power reset --state` empties it"
    return True, "was repaired" if code & REPAIRED else "is clean"


@dataclass(frozen=True, slots=True)
class Record:
    """What the boot made of it, for `nullctl status`.

    kind: `disk` or `memory`. device: name below /dev, also of a partition that was not taken. detail: for people.
    created: by this boot.
    """

    kind: str
    device: str
    detail: str
    created: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True) + "\n"
