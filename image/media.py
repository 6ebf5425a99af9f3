"""Write file systems and disks for firmware to boot from (edge: runs mkfs.fat, mcopy, xorriso and sbsign).

Sources: mkfs.fat(8), mcopy(1), xorrisofs(1), sbsign(1).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from image import squash
from nullbox.host import gpt
from nullbox.host.gpt import Partition

BOOT_FILE = "EFI/BOOT/BOOTX64.EFI"
"""What firmware starts from a medium that it knows nothing about (UEFI Specification 2.10, 3.5.1.1)."""
EPOCH = 315532800
"""1980-01-01, the earliest time that FAT knows: every file's."""
SECTOR_2K = 2048


def sign(program: Path, key: Path, certificate: Path) -> None:
    """Sign an EFI program in place, with the user's own key."""
    signed = program.with_suffix(".signed")
    squash.run(["sbsign", "--key", str(key), "--cert", str(certificate), "--output", str(signed), str(program)])
    signed.replace(program)


def fat(target: Path, size: int, serial: str, program: Path) -> None:
    """A FAT file system of `size` bytes with the program where firmware looks; FAT32 from 34 MiB on, else FAT16."""
    kind = ("-F", "32") if size >= 34 << 20 else ("-F", "16", "-s", "2")  # small clusters: FAT16 has at least 4085
    target.unlink(missing_ok=True)
    with target.open("wb") as file:
        file.truncate(size)
    squash.run(["mkfs.fat", *kind, "-i", serial, "-n", "ESP", "--invariant", str(target)])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        path = Path(folder) / BOOT_FILE
        path.parent.mkdir(parents=True)
        shutil.copyfile(program, path)
        for each in (path, *path.parents[: len(Path(BOOT_FILE).parts) - 1]):
            os.utime(each, (EPOCH, EPOCH))
        squash.run(["mcopy", "-s", "-m", "-i", str(target), str(Path(folder) / "EFI"), "::"], epoch=EPOCH)


def write_disk(
    target: Path, sectors: int, pieces: Iterable[tuple[int, bytes]], files: Iterable[tuple[int, Path]]
) -> None:
    """A disk image, sparse where nothing is: the partition table's pieces, and files at their offsets in bytes."""
    scratch = target.with_suffix(".tmp")
    with scratch.open("wb") as disk:
        disk.truncate(sectors * gpt.SECTOR)
        for offset, path in files:
            copy_sparse(path, disk.fileno(), offset)
        for offset, content in pieces:
            os.pwrite(disk.fileno(), content, offset)
    scratch.replace(target)


def copy_sparse(path: Path, disk: int, offset: int) -> None:
    """Copy a file to a place of a disk image that holds zeros so far."""
    zeros = bytes(1 << 16)
    with path.open("rb") as file:
        while chunk := file.read(len(zeros)):
            if chunk != zeros[: len(chunk)]:
                os.pwrite(disk, chunk, offset)
            offset += len(chunk)


def iso(target: Path, files: dict[str, Path], boot: str, label: str) -> None:
    """An ISO 9660 image of these files, whose file `boot` is what firmware finds on a CD (El Torito).

    The files lie in the order given. The 32 KiB in front of the file system stay free for a partition table.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        weights = Path(folder) / "sort"
        for number, (name, path) in enumerate(files.items()):
            copy = Path(folder) / name
            shutil.copyfile(path, copy)
            copy.chmod(0o444)  # the image records it, and it is no matter of the builder's umask
            with weights.open("a") as lines:
                lines.write(f"{len(files) - number} /{name}\n")
        argv = ["xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-o", str(target), "-V", label]
        argv += ["--sort-weight-list", str(weights), "-e", f"/{boot}", "-no-emul-boot"]
        argv += ["--set_all_file_dates", "1980010100000000", "-graft-points"]
        argv += [f"/{name}={Path(folder) / name}" for name in files]
        squash.run(argv, epoch=EPOCH)


def extents(image: Path) -> dict[str, tuple[int, int]]:
    """Where the files of an ISO image lie: name → (first byte, size in bytes)."""
    argv = ["xorriso", "-no_rc", "-indev", str(image), "-find", "/", "-type", "f", "-exec", "report_lba", "--"]
    return parse_extents(squash.run(argv))


def parse_extents(report: str) -> dict[str, tuple[int, int]]:
    """Read xorriso's `report_lba`: `File data lba: EXTENT , START , BLOCKS , SIZE , 'PATH'`; each in one extent."""
    found: dict[str, tuple[int, int]] = {}
    for match in re.finditer(r"^File data lba:\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*,\s*(\d+)\s*,\s*'/(.+)'$", report, re.M):
        if match[1] != "0":
            raise squash.ToolError(f"/{match[4]} lies in several pieces")
        found[match[4]] = (int(match[2]) * SECTOR_2K, int(match[3]))
    return found


def add_partition_table(image: Path, partitions: list[Partition], disk_pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write a partition table over the free space in front of an ISO's file system and behind its end."""
    pieces = list(disk_pieces)
    end = max(offset + len(content) for offset, content in pieces)
    data_end = max(partition.offset + partition.size for partition in partitions)
    with image.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > min(offset for offset, _ in pieces if offset >= data_end):
            raise squash.ToolError("the ISO image reaches into the space of its second partition table")
        file.truncate(end)
        for offset, content in pieces:
            os.pwrite(file.fileno(), content, offset)
