"""The unified kernel image: what its sections say."""

from __future__ import annotations

import struct

import pytest

from image import pe, texts, uki
from nullbox.host import verified
from nullbox.host.verified import VerifiedRoot

ROOT = verified.arguments(VerifiedRoot(6000, "ab" * 32), "PARTUUID=abababab-abab-abab-abab-abababababab", wait=True)


def kernel(version: bytes = b"6.12.1-test (nullbox@nullbox)") -> bytes:
    """The parts of a bzImage that are looked at."""
    head = bytearray(0x1000)
    head[:2] = b"MZ"
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x400 - 0x200).to_bytes(2, "little")
    head[0x400 : 0x400 + len(version)] = version
    return bytes(head)


def test_the_command_line_has_one_length_whatever_it_says() -> None:
    for flavour in uki.CONSOLES:
        line = uki.command_line(ROOT, flavour)
        assert len(line) == uki.CMDLINE_BYTES
        words = line.decode().split()
        assert "root=/dev/dm-0" in words
        assert "init=/sbin/init" in words
        assert "console=ttyS0" in words


def test_a_command_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        uki.command_line(("x" * uki.CMDLINE_BYTES,), "virt")


def test_the_version_is_read_from_the_kernel() -> None:
    assert uki.kernel_version(kernel()) == "6.12.1-test"


@pytest.mark.parametrize("data", [b"", b"MZ", kernel(version=b""), b"XX" + kernel()[2:]])
def test_what_is_no_kernel_is_refused(data: bytes) -> None:
    with pytest.raises(uki.KernelError):
        uki.kernel_version(data)


def test_the_program_holds_all_parts(stub: bytes) -> None:
    whole = uki.assemble(stub, kernel(), uki.command_line(ROOT, "virt"), texts.os_release("1.2", "trixie"))
    found = {section.name: section.content for section in pe.sections(whole)}
    assert found[".linux"] == kernel()
    assert found[".uname"] == b"6.12.1-test"
    assert b"VERSION_ID=1.2" in found[".osrel"]
    assert found[".cmdline"].decode().split() == uki.command_line(ROOT, "virt").decode().split()


@pytest.fixture
def stub() -> bytes:
    """The least EFI program that sections can be added to."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, pe.PE32_PLUS)
    struct.pack_into("<II", optional, 32, 0x1000, 0x200)
    struct.pack_into("<II", optional, 56, 0x2000, 0x400)
    text = struct.pack("<8sIIIIIIHHI", b".text", 1, 0x1000, 0x200, 0x400, 0, 0, 0, 0, 0x60000020)
    return (dos + coff + bytes(optional) + text).ljust(0x400, b"\0") + b"\xc3".ljust(0x200, b"\0")
