"""Add sections to an EFI program (pure): how a unified kernel image is put together.

Only what that needs is understood of the format: the headers, and room for more section headers behind them, which
EFI stubs are linked with. Contents go to the end of the file and to addresses behind the last section.

Source: PE Format (Microsoft), sections COFF File Header, Optional Header, Section Table.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PE32_PLUS = 0x20B
HEADER_SIZE = 40
READABLE_DATA = 0x40000040
"""Characteristics of a section: initialized data that can be read, neither written nor executed."""
SECURITY_DIRECTORY = 4


class PeError(ValueError):
    """Not the kind of EFI program that sections can be added to; the message says what was found."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section as the program's loader sees it. address: relative to where the program is loaded."""

    name: str
    address: int
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    coff: int
    optional: int
    table: int
    count: int
    section_alignment: int
    file_alignment: int
    headers: int


def _layout(program: bytes) -> _Layout:
    try:
        if program[:2] != b"MZ":
            raise PeError("it does not begin with MZ")
        start = struct.unpack_from("<I", program, 0x3C)[0]
        if program[start : start + 4] != b"PE\0\0":
            raise PeError("it has no PE header")
        coff = start + 4
        count, optional_size = struct.unpack_from("<H12xH", program, coff + 2)
        optional = coff + 20
        if struct.unpack_from("<H", program, optional)[0] != PE32_PLUS:
            raise PeError("it is not a 64-bit program (PE32+)")
        section_alignment, file_alignment = struct.unpack_from("<II", program, optional + 32)
        headers = struct.unpack_from("<I", program, optional + 60)[0]
    except struct.error:
        raise PeError("it ends within its headers") from None
    if not (section_alignment and file_alignment):
        raise PeError("an alignment of zero")
    return _Layout(coff, optional, optional + optional_size, count, section_alignment, file_alignment, headers)


def sections(program: bytes) -> list[Section]:
    """The sections of a program; raises `PeError`."""
    layout = _layout(program)
    found = []
    try:
        for number in range(layout.count):
            name, size, address, raw_size, raw = struct.unpack_from(
                "<8sIIII", program, layout.table + number * HEADER_SIZE
            )
            content = program[raw : raw + min(size, raw_size)]
            found.append(Section(name.rstrip(b"\0").decode("ascii"), address, size, content))
    except (struct.error, UnicodeDecodeError):
        raise PeError("its section table is broken") from None
    return found


def add_sections(program: bytes, added: Sequence[tuple[str, bytes]]) -> bytes:
    """The program with these (name, content) sections behind its own; raises `PeError`.

    Whatever lies behind the last section is kept in the file, but a signature would no longer be true, so a signed
    program is refused.
    """
    layout = _layout(program)
    there = sections(program)
    if struct.unpack_from("<I", program, layout.optional + 112 + SECURITY_DIRECTORY * 8)[0]:
        raise PeError("it is signed; sections are added before signing")
    known = {section.name for section in there}
    image = bytearray(program)
    table_end = layout.table + (layout.count + len(added)) * HEADER_SIZE
    if table_end > layout.headers:
        raise PeError(f"{len(added)} more section headers do not fit: {layout.headers} bytes are kept for headers")
    address = max((section.address + section.size for section in there), default=layout.headers)
    for number, (name, content) in enumerate(added, layout.count):
        if name in known or len(name) > 8 or not content:
            raise PeError(f"section {name!r}: a name is new and of at most 8 characters, and no section is empty")
        known.add(name)
        address = _up(address, layout.section_alignment)
        image += bytes(_up(len(image), layout.file_alignment) - len(image))
        raw, raw_size = len(image), _up(len(content), layout.file_alignment)
        image += content.ljust(raw_size, b"\0")
        struct.pack_into(
            "<8sIIIIIIHHI",
            image,
            layout.table + number * HEADER_SIZE,
            *(name.encode("ascii"), len(content), address, raw_size, raw),
            *(0, 0, 0, 0, READABLE_DATA),
        )
        address += len(content)
    struct.pack_into("<H", image, layout.coff + 2, layout.count + len(added))
    struct.pack_into("<I", image, layout.optional + 56, _up(address, layout.section_alignment))
    struct.pack_into("<I", image, layout.optional + 64, 0)  # the checksum, which EFI does not look at
    return bytes(image)


def _up(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment
