"""The sandbox's filter, interpreted here as the kernel interprets it."""

from __future__ import annotations

import struct

import pytest

from nullbox.cage import sandbox
from nullbox.cage.sandbox import calls

assert sandbox.__doc__


def verdict(number: int, first: int = 0, architecture: int = calls.ARCHITECTURE_X86_64) -> int:
    """What the program says to a call: the kernel's word."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, first, 0, 0, 0, 0, 0)
    program = calls.program()
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case calls.LOAD:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case calls.RETURN:
                return operand
            case calls.EQUAL:
                at += if_true if accumulator == operand else if_false
            case calls.AT_LEAST:
                at += if_true if accumulator >= operand else if_false
            case calls.ANY_BIT:
                at += if_true if accumulator & operand else if_false
            case _:
                raise AssertionError(f"code {code:#x}")


REFUSE = calls.ERRNO | calls.EPERM


def test_every_call_but_those_of_the_table_is_allowed() -> None:
    refused = set(calls.REFUSED.values())
    for number in range(600):
        if number in (calls.SOCKET, calls.CLONE, calls.CLONE3):
            continue
        assert verdict(number) == (REFUSE if number in refused else calls.ALLOW), number


def test_the_table_has_no_number_twice() -> None:
    assert len(set(calls.REFUSED.values())) == len(calls.REFUSED)


@pytest.mark.parametrize("family", range(50))
def test_sockets_of_a_few_families(family: int) -> None:
    assert verdict(calls.SOCKET, family) == (calls.ALLOW if family in calls.FAMILIES.values() else REFUSE)


def test_processes_and_threads_but_no_namespaces() -> None:
    assert verdict(calls.CLONE, 17) == calls.ALLOW
    assert verdict(calls.CLONE, 0x3D0F00) == calls.ALLOW  # a thread of glibc
    for bit in range(32):
        if calls.NEW_NAMESPACES & 1 << bit:
            assert verdict(calls.CLONE, 17 | 1 << bit) == REFUSE, bit
    assert verdict(calls.CLONE3) == calls.ERRNO | calls.ENOSYS


def test_other_names_for_the_calls_do_not_help() -> None:
    assert verdict(0, architecture=0x40000003) == calls.KILL  # 32-bit x86
    assert verdict(calls.REFUSED["mount"] | calls.X32) == REFUSE


def test_jumps_fit() -> None:
    assert all(max(if_true, if_false) < 256 for _, if_true, if_false, _ in calls.program())
    assert len(calls.encoded()) == 8 * len(calls.program()) < 8 * 4096
