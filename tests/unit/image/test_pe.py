"""Sections of EFI programs, read back by binutils."""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image import pe


def program(*, count: int = 1, headers: int = 0x400, signed: bool = False, magic: int = pe.PE32_PLUS) -> bytes:
    """An EFI program of one section of code that returns, by the format's documentation."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, count, 0, 0, 0, 240, 0x22)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, magic)
    struct.pack_into("<IIQII", optional, 16, 0x1000, 0x1000, 0x400000, 0x1000, 0x200)
    struct.pack_into("<II", optional, 56, 0x2000, headers)
    struct.pack_into("<H", optional, 68, 10)
    struct.pack_into("<I", optional, 108, 16)
    if signed:
        struct.pack_into("<II", optional, 112 + 4 * 8, 0x600, 8)
    text = struct.pack("<8sIIIIIIHHI", b".text", 1, 0x1000, 0x200, 0x400, 0, 0, 0, 0, 0x60000020)
    return (dos + coff + bytes(optional) + text).ljust(0x400, b"\0") + b"\xc3".ljust(0x200, b"\0")


def test_binutils_sees_the_sections_where_they_were_put(tmp_path: Path) -> None:
    whole = pe.add_sections(program(), [(".cmdline", b"quiet"), (".linux", b"k" * 5000)])
    path = tmp_path / "uki.efi"
    path.write_bytes(whole)
    shown = subprocess.run(["objdump", "-h", str(path)], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\s+\d+ (\.\w+)\s+(\w+)\s+(\w+)\s+\w+\s+(\w+)", shown, flags=re.MULTILINE)
    found = {name: (int(size, 16), int(address, 16), int(offset, 16)) for name, size, address, offset in rows}
    assert found[".cmdline"][1] == 0x400000 + 0x2000
    assert found[".linux"][1] == 0x400000 + 0x3000
    for name, content in ((".cmdline", b"quiet"), (".linux", b"k" * 5000)):
        start = found[name][2]
        assert whole[start : start + len(content)] == content
    assert "DATA" in shown


def test_the_loader_is_told_how_much_memory_the_whole_takes() -> None:
    whole = pe.add_sections(program(), [(".linux", b"k" * 5000)])
    assert struct.unpack_from("<I", whole, 0x40 + 24 + 56)[0] == 0x4000


@given(st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=8))
def test_what_was_added_is_read_back(contents: list[bytes]) -> None:
    added = [(f".s{number}", content) for number, content in enumerate(contents)]
    found = pe.sections(pe.add_sections(program(), added))
    assert [(section.name, section.content) for section in found[1:]] == added
    for before, after in itertools.pairwise(found):
        assert after.address >= before.address + before.size


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "MZ"),
        (b"MZ" + bytes(100), "PE header"),
        (program(magic=0x10B), "64-bit"),
        (program(signed=True), "signed"),
        (program(headers=0x180), "do not fit"),
    ],
)
def test_what_cannot_get_sections_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(pe.PeError, match=says):
        pe.add_sections(data, [(".linux", b"k")])


@pytest.mark.parametrize("added", [[(".text", b"x")], [(".toolongname", b"x")], [(".a", b"")], [(".a", b"x")] * 2])
def test_a_section_that_would_be_lost_or_ambiguous_is_refused(added: list[tuple[str, bytes]]) -> None:
    with pytest.raises(pe.PeError, match="section"):
        pe.add_sections(program(), added)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, program()[: len(data)], program()[:0x40] + data):
        try:
            pe.sections(candidate)
        except pe.PeError:
            continue
