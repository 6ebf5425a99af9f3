"""Which symbols a shared object exports, without loading it (edge module: reads a file).

Loading libkrun maps some 60 MB into a process and keeps them there; its dynamic symbol table is a few pages of the
file. Only 64-bit little-endian ELF is read.

Sources: elf(5), System V Application Binary Interface (ELF-64).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

SHT_DYNSYM = 11
SHN_UNDEF = 0
STB_GLOBAL, STB_WEAK = 1, 2
SYMBOL_BYTES, SECTION_BYTES = 24, 64
MOST_BYTES = 16 * 1024 * 1024
"""Largest section that is read."""


def exported(path: str | os.PathLike[str]) -> frozenset[str]:
    """The names of the functions and objects that a shared object defines for others.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no 64-bit little-endian ELF file with a dynamic symbol table.
    """
    try:
        with Path(path).open("rb") as file:
            header = file.read(64)
            if header[:6] != b"\x7fELF\x02\x01":
                raise ValueError(f"{path} is no 64-bit little-endian ELF file")
            (offset,) = struct.unpack_from("<Q", header, 0x28)
            size, count = struct.unpack_from("<HH", header, 0x3A)
            if size != SECTION_BYTES:
                raise ValueError(f"{path} has section headers of {size} bytes, not {SECTION_BYTES}")
            sections = [_read(file, offset + number * size, size) for number in range(count)]
            symbols = next((found for found in sections if struct.unpack_from("<I", found, 4)[0] == SHT_DYNSYM), None)
            if symbols is None:
                raise ValueError(f"{path} has no dynamic symbol table")
            (link,) = struct.unpack_from("<I", symbols, 40)
            names = _content(file, sections[link])
            return frozenset(_defined(_content(file, symbols), names))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is a broken ELF file: {error}") from error


def _defined(symbols: bytes, names: bytes) -> list[str]:
    found = []
    for start, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", symbols):
        if section != SHN_UNDEF and info >> 4 in (STB_GLOBAL, STB_WEAK):
            found.append(names[start : names.index(b"\0", start)].decode())
    return found


def _content(file: BinaryIO, section: bytes) -> bytes:
    offset, size = struct.unpack_from("<QQ", section, 24)
    if size > MOST_BYTES:
        raise ValueError(f"a section of {size} bytes; at most {MOST_BYTES} are read")
    return _read(file, offset, size)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"the file ends before offset {offset + size}")
    return data
