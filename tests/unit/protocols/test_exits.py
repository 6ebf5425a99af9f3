from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.exits import ExitRecord, prune, read_record, start_time_of, write_record


def test_what_was_written_is_read_for_that_process_only(tmp_path: Path) -> None:
    record = ExitRecord(pid=7, start_time=1234, code=3, signal=None)
    write_record(tmp_path, record)
    assert read_record(tmp_path, 7, 1234) == record
    assert read_record(tmp_path, 7, 1235) is None, "the pid was used again"
    assert read_record(tmp_path, 8, 1234) is None


def test_a_broken_record_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "7.1").write_text("{")
    (tmp_path / "7.2").write_text('{"pid": 7}')
    assert read_record(tmp_path, 7, 1) is None
    assert read_record(tmp_path, 7, 2) is None


def test_the_oldest_records_go_first(tmp_path: Path) -> None:
    for n in range(6):
        write_record(tmp_path, ExitRecord(n, 0, 0, None))
        os.utime(tmp_path / f"{n}.0", (n, n))
    prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4.0", "5.0"]


@given(st.text(alphabet=st.characters(exclude_characters="\n\0", exclude_categories=("Cs",)), max_size=15))
def test_the_start_time_is_found_whatever_the_command_is_called(name: str) -> None:
    fields = ["S", *(str(n) for n in range(4, 53))]
    fields[19] = "987654"
    assert start_time_of(f"42 ({name}) {' '.join(fields)}") == 987654


def test_our_own_start_time_is_positive_and_nonsense_is_refused() -> None:
    assert start_time_of(Path("/proc/self/stat").read_text()) > 0
    with pytest.raises(ValueError, match="not the text of"):
        start_time_of("hello")
