"""What the boot does with the STATE partition and with what lasts on it, as tasks for the phases.

Every function takes the host's calls as an argument and returns what is to be said in the log, so that a test can
compare the whole trace. What is decided, and why, is in `state`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from nullbox.bootstrap import state
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.host import Host
from nullbox.bootstrap.partitions import PROBE, STATE_LABEL, content, has_quotas, labelled
from nullbox.bootstrap.state import Record, Step

RECORD: Final = "/run/nullbox/state.json"
MACHINE_ID: Final = "/var/lib/nullbox/machine-id"
RUN_MACHINE_ID: Final = "/run/nullbox/machine-id"
SEED: Final = "/var/lib/nullbox/random-seed"
CLOCK: Final = "/var/lib/nullbox/clock"

MKFS_SECONDS: Final = 300.0
FSCK_SECONDS: Final = 1800.0
"""A large partition that was damaged takes its time; the console says that it is checked."""

SEED_BYTES: Final = 512
BUILT: Final = 1_764_000_000
"""A time shortly before this code was written (Unix seconds): a clock that shows less is wrong."""
LATEST: Final = 4_102_444_800
"""The year 2100: a saved time past it is no time."""

_MACHINE_ID = re.compile(rb"[0-9a-f]{32}")


def mount_state(host: Host, _: Cmdline) -> str:
    """Mount /var: the STATE partition, made or checked first, or memory. Leaves a record of which and why."""
    record = _from_disk(host)
    if record.kind != "disk":
        host.mount(state.in_memory())
    host.replace_file(RECORD, record.to_json().encode(), 0o644)
    where = record.device if record.kind == "disk" else "memory: nothing will be there after the next boot"
    return f"/var is {where}; {record.detail}"


def _from_disk(host: Host) -> Record:
    plan = state.plan(labelled(STATE_LABEL, host.block_devices()))
    device = plan.device
    if not device:
        return Record("memory", "", plan.why)
    try:
        size, head = host.device_size(device), host.read_device(device, PROBE)
        plan = state.examine(device, size, *content(head))
        if plan.step is Step.NOTHING:
            return Record("memory", device, plan.why)
        if plan.step is Step.CREATE:
            code, said = host.run(state.mkfs_argv(device), MKFS_SECONDS)
            if code:
                return Record("memory", device, f"no file system could be made on {device} ({code}): {said}")
            usable, detail = True, "was empty and has a new file system"
        else:
            code, said = host.run(state.fsck_argv(device), FSCK_SECONDS)
            usable, detail = state.verdict(code)
        if not usable:
            return Record("memory", device, f"{device} {detail}: {said}")
        host.mount(state.on_disk(device, quotas=plan.step is Step.CREATE or has_quotas(head)))
    except (OSError, ValueError) as error:
        return Record("memory", device, f"{device} could not be used: {error}")
    return Record("disk", device, f"{device} {detail}", created=plan.step is Step.CREATE)


def machine_id(host: Host, _: Cmdline) -> str:
    """The machine's name for good: 32 hex digits (machine-id(5)), made once; for this boot only without a disk."""
    found = host.read_file(MACHINE_ID, 64).strip()
    made = not _MACHINE_ID.fullmatch(found)
    if made:
        found = host.random(16).hex().encode()
        host.replace_file(MACHINE_ID, found + b"\n", 0o444)
    host.replace_file(RUN_MACHINE_ID, found + b"\n", 0o444)
    return f"machine id {found.decode()}{', new' if made else ''}"


def stir(host: Host, _: Cmdline) -> None:
    """Give the kernel the seed of the last boot, and replace it at once, so that no two boots have the same one.

    Nothing is credited as entropy: a copy of the disk has the same seed (random(4), getrandom(2)).
    """
    seed = host.read_file(SEED, SEED_BYTES)
    if seed:
        host.add_randomness(seed)
    save_seed(host, seed)


def save_seed(host: Host, old: bytes = b"") -> None:
    """A new seed that is no weaker than the old one: both go into each block of it."""
    blocks = (hashlib.sha512(bytes([n]) + old + host.random(64)).digest() for n in range(SEED_BYTES // 64))
    host.replace_file(SEED, b"".join(blocks), 0o600)


def set_clock(host: Host, _: Cmdline) -> str | None:
    """Never go back behind the time of the last boot, or behind the build: a machine without a battery-backed clock
    wakes in 1970, when no certificate is valid and new entries would be older than old ones."""
    saved = host.read_file(CLOCK, 32).strip()
    known = int(saved) if saved.isdigit() and int(saved) < LATEST else 0
    least = max(known, BUILT)
    now = host.now()
    if now < least:
        host.set_clock(float(least))
        return f"the clock showed {now:.0f}, before {least}, the last time that is known; it was put there"
    return None


def save_clock(host: Host) -> None:
    """Keep the time for the next boot."""
    host.replace_file(CLOCK, b"%d\n" % int(host.now()), 0o644)


def set_hostname(host: Host, cmdline: Cmdline) -> None:
    """sethostname(2)."""
    host.set_hostname(cmdline.hostname)


def save(host: Host) -> None:
    """At the end, and now and then: what the next boot begins with."""
    save_seed(host, host.read_file(SEED, SEED_BYTES))
    save_clock(host)
