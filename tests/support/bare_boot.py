"""A machine that only reads its verified root from end to end and ends: for tests of what lies below the system."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nullbox.host import acceleration, qemu, verified
from nullbox.host.qemu import BINARY, Machine
from nullbox.host.verified import BLOCK

READ_ALL = "f=open('/dev/dm-0','rb',0);n=sum(map(len,iter(lambda:f.read(65536),b'')));print('read-all',n,flush=True)"
"""In place of PID 1: no system, nothing but the image's interpreter, the kernel and the disk."""
CORRUPTED = "dm-verity device corrupted"
"""What the kernel's panic says (drivers/md/dm-verity-target.c)."""


@dataclass(frozen=True)
class Outcome:
    """read: bytes that the machine read of its root, None if it did not get to the end. stopped: the kernel's panic."""

    read: int | None
    stopped: bool
    console: str


def read_root(kernel: Path, root: Path, described_by: Path, scratch: Path, seconds: float = 120.0) -> Outcome:
    """Boot the kernel with this root, under the description of another one, and read it all; QEMU ends by itself."""
    console = scratch / "console.log"
    console.unlink(missing_ok=True)
    machine = Machine(
        kernel=kernel,
        root=root,
        console=console,
        gateway=scratch / "gateway.sock",
        kvm=acceleration.choose(BINARY).kvm,
        memory_mib=512,
        verified=verified.read(described_by),
        append=("init=/usr/bin/python3.13", "--", "-IS", "-c", f'"{READ_ALL}"'),
    )
    subprocess.run(qemu.argv(machine), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True)
    text = console.read_text(errors="replace")
    word = text.partition("read-all ")[2].split()
    return Outcome(int(word[0]) if word else None, CORRUPTED in text, text)


def corrupt(image: Path, target: Path, bit: int) -> None:
    """A copy of the image with one bit flipped."""
    shutil.copyfile(image, target)
    with target.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def places(image: Path, count: int, seed: int) -> list[int]:
    """Bits of an image, spread over all of it: the first block, each level of the hash tree, and between them."""
    data = verified.read(image).data_blocks * BLOCK
    size = image.stat().st_size
    draw = random.Random(seed)
    fixed = [draw.randrange(8 * BLOCK), draw.randrange(8 * data, 8 * (data + BLOCK)), 8 * size - BLOCK * 8 + 1]
    between = count - len(fixed)
    spread = [draw.randrange(8 * data * n // between, 8 * data * (n + 1) // between) for n in range(between)]
    return (spread[: between // 2] + fixed + spread[between // 2 :])[:count]
