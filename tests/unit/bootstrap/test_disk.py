"""The edges of PID 1 that touch disks and files, with real files and real programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nullbox.bootstrap import disk, files


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("print('one\\n  two')", 0, "one two"),
        ("import sys; sys.stderr.write('no'); sys.exit(4)", 4, "no"),
        ("import os; os.kill(os.getpid(), 11)", 139, ""),
    ],
)
def test_a_program_is_run_to_its_end(program: str, code: int, said: str) -> None:
    assert disk.run(python(program), 60.0) == (code, said)


def test_one_that_talks_much_is_remembered_by_its_last_words() -> None:
    code, said = disk.run(python("print('x' * 100_000); print('last')"), 60.0)
    assert code == 0
    assert said.endswith("last")
    assert len(said) <= disk.MOST_OUTPUT


def test_one_that_does_not_end_is_ended() -> None:
    code, said = disk.run(python("import time; print('begun', flush=True); time.sleep(600)"), 1.0)
    assert code == disk.TOO_LONG
    assert said in ("begun", "")


def test_one_that_is_not_there_is_an_error_and_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        disk.run(["/nonexistent/program"], 1.0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_wiping_empties_the_beginning_and_says_so_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"\xff" * (disk.WIPED + 4096))
    disk.wipe(str(path))
    content = path.read_bytes()
    assert not any(content[: disk.WIPED])
    assert content[disk.WIPED :] == b"\xff" * 4096
    assert disk.read(str(path), 100) == bytes(100)


def test_a_small_disk_is_not_made_larger(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"\xff" * 4096)
    disk.wipe(str(path))
    assert path.read_bytes() == bytes(4096)


def test_block_devices_are_named_with_their_uevents(tmp_path: Path) -> None:
    for name in ("vda", "vda1"):
        (tmp_path / "class/block" / name).mkdir(parents=True)
        (tmp_path / "class/block" / name / "uevent").write_text(f"DEVNAME={name}\n")
    (tmp_path / "class/block/gone").mkdir()
    (tmp_path / "class/block/vda/size").write_text("2048\n")
    assert disk.uevents(tmp_path) == {"vda": "DEVNAME=vda\n", "vda1": "DEVNAME=vda1\n"}
    assert disk.size("vda", tmp_path) == 1 << 20


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "seed"
    path.write_bytes(b"old and longer")
    files.replace(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["seed"]


def test_what_is_no_file_reads_as_nothing_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("fifo", "link", "missing", "."):
        assert files.read(tmp_path / name, 100) == b""
