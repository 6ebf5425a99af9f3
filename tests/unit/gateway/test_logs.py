"""Reading and following a log that its cage writes, caps and drops from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.console import ConsoleLog
from nullbox.gateway import logs
from nullbox.protocols.framing import MAX_LINE


def everything(path: Path) -> list[str]:
    lines, position = [], 0
    while (found := logs.page(path, position)).lines:
        lines += found.lines
        position = found.position
    return lines


def test_pages_put_together_are_the_log(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"
    log = ConsoleLog(path)
    written = [f"line {number}" for number in range(60_000)]
    log.write("".join(line + "\n" for line in written).encode())
    assert everything(path) == written
    assert logs.last(path, 2).lines == written[-2:]
    assert logs.last(path, 0).lines == []
    assert logs.last(path, 2).position == log.position
    log.close()


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert logs.page(tmp_path / "none.log", 0).lines == []
    assert logs.last(tmp_path / "none.log", 10).lines == []


def test_dropped_output_is_a_gap(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "pulse.log", cap=1000)
    for number in range(200):
        log.write(f"line {number}\n".encode())
    first = logs.page(tmp_path / "pulse.log", 0)
    assert first.gap > 0
    assert first.lines[-1] == "line 199"
    log.close()


@given(st.binary(max_size=300))
def test_any_bytes_become_lines_without_control_characters(data: bytes) -> None:
    for line in logs.split(data):
        assert not any(ord(char) < 32 and char != "\t" for char in line)


def test_the_worst_page_fits_one_message(tmp_path: Path) -> None:
    for worst in (b"\xff" * (logs.PAGE - 1) + b"\n", b"\n" * logs.PAGE, "\u2028".encode() * (logs.PAGE // 3)):
        path = tmp_path / "pulse.log"
        path.write_bytes(worst)
        assert len(json.dumps(logs.page(path, 0).plain("x" * 32))) < MAX_LINE - 1000


def test_a_terminals_commands_are_shown_and_not_obeyed() -> None:
    assert logs.split(b"\x1b[31mred\x07\r\n") == ["\\x1b[31mred\\x07"]


def test_following_waits_for_whole_lines_and_survives_rotation(tmp_path: Path) -> None:
    path = tmp_path / "pulse.log"

    async def main() -> None:
        log = ConsoleLog(path, cap=400)
        log.write(b"old\nlast\n")
        source = logs.follow(path, logs.last(path, 1))

        async def following() -> str:
            return str((await anext(source))["text"])

        async with asyncio.timeout(20):
            assert await following() == "last"
            log.write(b"half")
            waiting = asyncio.create_task(following())
            await asyncio.sleep(0)
            log.write(b" and half\n")
            assert await waiting == "half and half"
            for number in range(100):
                log.write(f"line {number:03}\n".encode())
                assert await following() == f"line {number:03}"
            for number in range(100):
                log.write(f"more {number:03}\n".encode())
            assert "were dropped here" in await following()
            while await following() != "more 099":
                pass
        log.close()

    asyncio.run(main())
