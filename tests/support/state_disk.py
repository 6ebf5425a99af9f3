"""A state disk for tests: made empty, lost power under, looked into from outside.

Looking never mounts anything: e2fsprogs of the host read a copy of the partition (root is not needed for that).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store
from nullbox.host import gpt, state_disk

STORE = "/lib/nullbox/ctxgraph.sqlite"
"""Of ctxgraph, below the root of the partition (which the machine mounts at /var)."""


@dataclass(frozen=True)
class StateDisk:
    """A raw disk image with a GPT and one partition labelled STATE."""

    path: Path

    @classmethod
    def create(cls, path: Path, mib: int = 128) -> StateDisk:
        state_disk.create(path, mib)
        return cls(path)

    @property
    def partition(self) -> gpt.Partition:
        """Where the partition lies, read from the table."""
        with self.path.open("rb") as disk:
            disk.seek(2 * gpt.SECTOR)
            entry = disk.read(gpt.ENTRY_SIZE)
        first, last = (int.from_bytes(entry[at : at + 8], "little") for at in (32, 40))
        return gpt.Partition(entry[56:].decode("utf-16-le").rstrip("\0"), first, last)

    def begin(self, length: int = 4096) -> bytes:
        """The first bytes of the partition."""
        with self.path.open("rb") as disk:
            disk.seek(self.partition.offset)
            return disk.read(length)

    def copy_partition(self, target: Path) -> Path:
        """The file system alone, as a file of its own (sparse)."""
        partition = self.partition
        with self.path.open("rb") as disk, target.open("wb") as out:
            out.truncate(partition.size)
            at, end = partition.offset, partition.offset + partition.size
            while at < end:
                try:
                    at = os.lseek(disk.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break  # nothing but holes from here on
                hole = min(os.lseek(disk.fileno(), at, os.SEEK_HOLE), end)
                while at < hole:
                    chunk = os.pread(disk.fileno(), min(1 << 20, hole - at), at)
                    os.pwrite(out.fileno(), chunk, at - partition.offset)
                    at += len(chunk)
        return target

    def checked(self, scratch: Path) -> Path:
        """A copy of the partition with its journal replayed, as the next boot would; fails if e2fsck finds damage."""
        copy = self.copy_partition(scratch)
        replayed = subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, text=True)
        assert replayed.returncode in (0, 1), f"e2fsck -p: {replayed.returncode}: {replayed.stdout}{replayed.stderr}"
        clean = subprocess.run(["e2fsck", "-f", "-n", str(copy)], capture_output=True, text=True)
        assert clean.returncode == 0, f"e2fsck -fn: {clean.stdout}{clean.stderr}"
        return copy

    def extract(self, inside: str, target: Path, scratch: Path) -> Path:
        """One file of the partition, as it is after a boot's replay of the journal; with SQLite's side files."""
        copy = self.checked(scratch)
        for suffix in ("", "-wal", "-journal"):
            subprocess.run(
                ["debugfs", "-R", f"dump {inside}{suffix} {target}{suffix}", str(copy)], capture_output=True, check=True
            )
        assert target.is_file(), f"{inside} is not on {self.path}"
        return target

    def fill(self, folder: Path, scratch: Path) -> None:
        """Put a file system with the content of a folder on the partition."""
        with scratch.open("wb") as file:
            file.truncate(self.partition.size)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(scratch)], check=True, capture_output=True)
        with self.path.open("r+b") as disk, scratch.open("rb") as content:
            disk.seek(self.partition.offset)
            shutil.copyfileobj(content, disk)

    def names(self, folder: str, scratch: Path) -> list[str]:
        """What is in a folder of the partition."""
        copy = self.checked(scratch)
        shown = subprocess.run(
            ["debugfs", "-R", f"ls -p {folder}", str(copy)], capture_output=True, text=True, check=True
        )
        return [line.split("/")[5] for line in shown.stdout.splitlines() if line.count("/") >= 6]

    def duplicate(self, target: Path) -> StateDisk:
        """A copy of the whole disk."""
        subprocess.run(["cp", "--sparse=always", str(self.path), str(target)], check=True)
        return StateDisk(target)


def ctxgraph_of(disk: StateDisk, scratch: Path) -> set[str]:
    """The hashes of all entries of ctxgraph that are on the disk; fails if its audit finds anything wrong."""
    store = disk.extract(STORE, scratch / "ctxgraph.sqlite", scratch / "partition")
    Store(store).close()  # as the next boot opens it
    reader = Reader(store)
    try:
        report = evidence.audit(reader)
        assert report["ok"], report["problems"]
        with reader.snapshot() as connection:
            return {row[0].hex() for row in connection.execute("SELECT hash FROM objects")}
    finally:
        reader.close()


def missing_tools() -> list[str]:
    return [tool for tool in ("e2fsck", "debugfs", "mke2fs", "partx") if shutil.which(tool) is None]
