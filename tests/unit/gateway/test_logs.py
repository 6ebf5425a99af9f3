"""Reading and following a log that its cage writes, caps and drops from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.console import ConsoleLog
from nullbox.gateway import logs
from nullbox.protocols.framing import MAX_LINE

T0 = 1_795_539_600.0


async def collect(path: Path, **how: Any) -> list[str]:
    return [line["text"] async for line in logs.stream(path, **how)]


def whole(path: Path, **how: Any) -> list[str]:
    return asyncio.run(collect(path, **how))


def test_what_the_cage_wrote_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"
    log = ConsoleLog(path)
    written = [f"line {number}" for number in range(20_000)]
    for number, line in enumerate(written):
        log.write(line.encode() + b"\n", T0 + number)
    assert whole(path) == written
    assert whole(path, tail=3) == written[-3:]
    assert whole(path, since=T0 + 19_998) == written[-2:]
    assert whole(path, tail=1, since=T0 + 19_998) == written[-1:]
    assert [line.text for line in logs.newest(path, tail=2)] == written[-2:]
    assert logs.newest(path, tail=0) == []
    assert logs.newest(path, tail=1)[0].ts == T0 + 19_999
    log.close()


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert whole(tmp_path / "none.log") == []
    assert logs.newest(tmp_path / "none.log", 10) == []


def test_both_files_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"
    log = ConsoleLog(path, cap=4000)
    for number in range(100):
        log.write(f"line {number}\n".encode(), T0)
    lines = whole(path)
    assert lines[-60:] == [f"line {number}" for number in range(40, 100)]
    assert [line.text for line in logs.newest(path, 60)] == lines[-60:]
    log.close()


@given(st.binary(max_size=200).filter(lambda raw: b"\n" not in raw))
def test_any_bytes_are_a_line(raw: bytes) -> None:
    assert isinstance(logs.parse_line(raw).text, str)


def test_a_line_without_a_time_is_kept_whole() -> None:
    for text in ("2026-13-99T00:00:00Z no date", "2026-11-24T17:00:00 no zone", "[nullbox: older output]", ""):
        assert logs.parse_line(text.encode()) == logs.LogLine(None, text)
    assert logs.parse_line(b"2026-11-24T17:00:00.250Z text") == logs.LogLine(T0 + 0.25, "text")


def test_the_worst_answer_fits_one_message(tmp_path: Path) -> None:
    for worst in ("\xff", "\n", "\u3000", "\U0001f600", "\\", '"'):
        path = tmp_path / "pulse.log"
        path.unlink(missing_ok=True)
        log = ConsoleLog(path)
        text = (worst * 3000 + "\n").encode()
        log.write(text * (10 if worst == "\n" else 100), T0)
        log.close()
        answer = [line.plain() for line in logs.newest(path)]
        assert len(answer) > 10
        assert len(json.dumps(answer)) < MAX_LINE - 1000


def test_following_waits_for_whole_lines_and_loses_none_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"

    async def main() -> None:
        log = ConsoleLog(path, cap=4000)
        log.write(b"old\nlast\n", T0)
        source = logs.stream(path, tail=1, follow=True)

        async def following() -> str:
            return str((await anext(source))["text"])

        async with asyncio.timeout(20):
            assert await following() == "last"
            log.write(b"half", T0)
            waiting = asyncio.ensure_future(following())
            await asyncio.sleep(0)
            log.write(b" and half\n", T0)
            assert await waiting == "half and half"
            for number in range(300):
                log.write(f"line {number:03}\n".encode(), T0)
                if number % 30 == 29:
                    seen = []
                    while not seen or seen[-1] != f"line {number:03}":
                        if not (text := await following()).startswith("[nullbox"):
                            seen.append(text)
                    assert seen == [f"line {each:03}" for each in range(number - 29, number + 1)]
        log.close()

    asyncio.run(main())


def test_following_a_log_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"

    async def main() -> None:
        path.write_text("one\ntwo\n")
        source = logs.stream(path, follow=True)
        async with asyncio.timeout(20):
            assert [(await anext(source))["text"] for _ in range(2)] == ["one", "two"]
            path.write_text("cut\n")
            assert (await anext(source))["text"] == "cut"

    asyncio.run(main())


def drained(reader: logs.Reader) -> list[str]:
    lines: list[str] = []
    while raw := reader.more():
        lines += [logs.parse_line(each).text for each in raw]
    return [text for text in lines if not text.startswith("[nullbox")]


def test_a_follower_that_missed_several_changes_of_file_reads_all_that_is_kept(tmp_path: Path) -> None:
    """It once went on with the newest file, and left out the one before, which it had never seen."""
    path = tmp_path / "pulse.log"
    log = ConsoleLog(path, cap=4000)
    log.write(b"first\n", T0)
    reader = logs.Reader(path)
    assert drained(reader) == ["first"]
    for number in range(301):
        log.write(f"line {number:03}\n".encode(), T0 + number)
    log.close()
    kept = drained(logs.Reader(path))
    assert len(kept) > 60
    assert path.with_name("pulse.log.1").exists()
    assert drained(reader) == kept
    assert drained(reader) == []


def test_a_file_that_took_over_the_inode_of_an_older_one_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"
    path.write_text("one\ntwo\n")
    reader = logs.Reader(path)
    assert drained(reader) == ["one", "two"]
    inode = path.stat().st_ino
    with path.open("r+") as file:  # the same inode with other content: what two changes of file may leave
        file.write("new\nfour\nfive\n")
    assert path.stat().st_ino == inode
    assert drained(reader) == ["new", "four", "five"]


def test_the_moment_between_two_files_hides_nothing(tmp_path: Path) -> None:
    """The cage renames the file and then makes a new one; somebody may look in between."""
    path = tmp_path / "pulse.log"
    path.with_name("pulse.log.1").write_text("old\n")
    assert whole(path) == ["old"]
    assert [line.text for line in logs.newest(path)] == ["old"]
    reader = logs.Reader(path)
    assert [logs.parse_line(each).text for each in reader.from_end(1000)] == ["old"]
    path.write_text("new\n")
    assert drained(reader) == ["new"]
