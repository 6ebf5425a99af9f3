"""The log of a guest's output: stamped, harmless, capped, and whole across writers."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.console import DROPPED, LONGEST_LINE, ConsoleLog, Lines, printable, stamp

NOW = 1_795_542_862.5
HEAD = "2026-11-24T17:54:22.500Z "
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


def lines(*chunks: bytes) -> str:
    state = Lines()
    return "".join(piece for chunk in chunks for piece in state.feed(chunk, NOW)) + "".join(state.end())


def test_a_line_begins_with_its_time() -> None:
    assert stamp(NOW) == HEAD.strip()
    assert lines(b"one\ntwo\r\n\nlast") == f"{HEAD}one\n{HEAD}two\n{HEAD}\n{HEAD}last\n"


def test_pieces_of_one_line_are_one_line() -> None:
    assert lines(b"a", b"", b"b", "ü".encode()[:1], "ü".encode()[1:], b"\n") == f"{HEAD}abü\n"


def test_a_line_without_end_is_broken() -> None:
    text = lines(b"x" * (2 * LONGEST_LINE + 1))
    assert [len(line) - len(HEAD) for line in text.splitlines()] == [LONGEST_LINE, LONGEST_LINE, 1]


def test_control_characters_never_get_through() -> None:
    assert printable("\x1b[31mred\x07\tok\x00\x9b") == "\\x1b[31mred\\x07\tok\\x00\\x9b"
    assert printable("a\u202eb\u2066\u200bc\u00ad") == "a\\u202eb\\u2066\\u200bc\\xad"
    assert printable("é 漢 🎉") == "é 漢 🎉"
    assert lines(b"\xff\xfe\n") == f"{HEAD}\\xff\\xfe\n"
    assert lines(b"50%\r60%\r\n") == f"{HEAD}50%\\x0d60%\n"


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_become_stamped_printable_lines(chunks: list[bytes]) -> None:
    text = lines(*chunks)
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        assert STAMP.match(line)
        assert printable(line) == line
    assert text.count("\n") >= b"".join(chunks).count(b"\n")
    text.encode()


@given(st.binary(max_size=200), st.integers(0, 200))
def test_how_output_is_cut_into_chunks_does_not_matter(data: bytes, cut: int) -> None:
    if b"\r" not in data:
        assert lines(data[:cut], data[cut:]) == lines(data)


def test_the_log_goes_on_where_the_last_writer_stopped(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    first = ConsoleLog(path)
    first.write(b"begun but not en", NOW)
    del first  # died without closing
    second = ConsoleLog(path)
    second.write(b"next\n", NOW)
    second.note("the agent \x1b[1m ended with 3", NOW)
    second.close()
    assert path.read_text() == (
        f"{HEAD}begun but not en\n{HEAD}next\n{HEAD}[nullbox: the agent \\x1b[1m ended with 3]\n"
    )


def test_the_oldest_goes_first_and_the_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = ConsoleLog(path, cap=4000)
    for number in range(1000):
        log.write(b"line %04d\n" % number, NOW)
    log.close()
    previous = path.with_name("a.log.1")
    assert path.stat().st_size + previous.stat().st_size <= 4000
    kept = [line for file in (previous, path) for line in file.read_text().splitlines()]
    assert kept[0] == DROPPED
    numbers = [int(line[-4:]) for line in kept if line != DROPPED]
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 50
    assert {file.name for file in tmp_path.iterdir()} == {"a.log", "a.log.1"}


def test_a_change_over_that_drops_nothing_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = ConsoleLog(path, cap=1000)
    for number in range(20):
        log.write(b"line %04d\n" % number, NOW)
    log.close()
    assert path.with_name("a.log.1").exists()
    assert DROPPED not in path.read_text()


def test_a_file_never_begins_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = ConsoleLog(path, cap=400)
    for _ in range(50):
        log.write(b"0123456789", NOW)
    log.write(b"\n", NOW)
    for _ in range(30):
        log.write(b"short\n", NOW)
    log.close()
    for file in (path, path.with_name("a.log.1")):
        first = file.read_text().splitlines()[0]
        assert STAMP.match(first) or first == DROPPED
