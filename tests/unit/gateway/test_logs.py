"""Reading and following a log that grows, shrinks and is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nullbox.gateway import logs


def stamp(second: int) -> str:
    return f"2026-11-24T17:00:{second:02}.500000+00:00"


def test_lines_have_times_and_tail_and_since_select(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"
    path.write_text("".join(f"{stamp(n)} line {n}\n" for n in range(10)) + "unfinished")
    lines = logs.read(path)
    assert [line.text for line in lines] == [f"line {n}" for n in range(10)]
    first = lines[0].ts
    assert first is not None
    assert [line.text for line in logs.read(path, tail=2)] == ["line 8", "line 9"]
    assert logs.read(path, tail=0) == []
    assert [line.text for line in logs.read(path, since=first + 7)] == ["line 7", "line 8", "line 9"]


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    assert logs.read(tmp_path / "none.log") == []


def test_a_large_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    with path.open("w") as file:
        for number in range(100_000):
            file.write(f"{stamp(0)} line {number}\n")
    lines = logs.read(path)
    assert len(lines) == logs.MOST_LINES
    assert lines[-1].text == "line 99999"
    assert all(line.text.startswith("line ") for line in lines)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line(raw: bytes) -> None:
    line = logs.parse_line(raw)
    assert isinstance(line.text, str)


def test_a_line_without_a_time_is_kept_whole() -> None:
    assert logs.parse_line(b"2026-13-99T00:00:00 no date") == logs.LogLine(None, "2026-13-99T00:00:00 no date")
    assert logs.parse_line(b"2026-11-24T17:00:00 no zone") == logs.LogLine(None, "2026-11-24T17:00:00 no zone")
    assert logs.parse_line(b"2026-11-24T17:00:00Z text").ts == 1795539600.0


def test_following_sees_what_comes_and_survives_replacement(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"

    async def main() -> None:
        source = logs.follow(path, tail=1)

        async def following() -> str:
            return str((await anext(source))["text"])

        async with asyncio.timeout(20):
            path.write_text(f"{stamp(0)} old\n{stamp(1)} last\n")
            assert await following() == "last"
            with path.open("a") as file:
                file.write(f"{stamp(2)} half")
                file.flush()
                waiting = asyncio.create_task(following())
                await asyncio.sleep(0)
                file.write(" and half\n")
            assert await waiting == "half and half"
            path.rename(tmp_path / "pulse.log.1")
            path.write_text(f"{stamp(3)} in the new file\n")
            assert await following() == "in the new file"
            path.write_text(f"{stamp(4)} cut\n")  # shorter than what was read of it
            assert await following() == "cut"

    asyncio.run(main())
