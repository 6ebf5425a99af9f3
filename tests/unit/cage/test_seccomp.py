"""The filter of system calls: the compiled program against the table, on a small BPF machine that is not the kernel's.

The kernel runs the same program in `test_jail.py`.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage import seccomp
from nullbox.cage.seccomp import (
    ALLOWED,
    AUDIT_ARCH_X86_64,
    DEADLY,
    ENOSYS_FOR,
    LIMITED,
    NUMBERS,
    VERDICTS,
    X32_BIT,
    Instruction,
)

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
NEWER_THAN_MOST_HEADERS = {"fchmodat2"}
PROGRAM = seccomp.program()
NAMES = {number: name for name, number in NUMBERS.items()}


def run(
    program: list[Instruction], number: int, arguments: tuple[int, ...] = (), architecture: int = AUDIT_ARCH_X86_64
) -> int:
    """What a program answers (bpf(4), the instructions that ours uses)."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    register, position = 0, 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == seccomp.LOAD:
            (register,) = struct.unpack_from("<I", data, operand)
        elif code == seccomp.AND:
            register &= operand
        elif code == seccomp.JUMP_EQUAL:
            position += if_true if register == operand else if_false
        elif code == seccomp.JUMP_GREATER_OR_EQUAL:
            position += if_true if register >= operand else if_false
        else:
            assert code == seccomp.RETURN
            return operand


def test_the_sets_do_not_overlap_and_have_numbers() -> None:
    sets = (ALLOWED, DEADLY, ENOSYS_FOR, frozenset(LIMITED))
    assert sum(map(len, sets)) == len(frozenset().union(*sets))
    assert frozenset().union(*sets) <= NUMBERS.keys()


@pytest.mark.skipif(not HEADER.is_file(), reason=f"needs {HEADER} (linux-libc-dev)")
def test_the_numbers_are_the_kernels() -> None:
    found = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    assert {name: found[name] for name in NUMBERS.keys() - NEWER_THAN_MOST_HEADERS} == {
        name: str(number) for name, number in NUMBERS.items() if name not in NEWER_THAN_MOST_HEADERS
    }


@given(st.integers(0, 600), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_the_program_answers_as_the_table(number: int, arguments: tuple[int, ...]) -> None:
    name = NAMES.get(number)
    wanted = "refused" if name is None else seccomp.verdict(name)
    if name in LIMITED:
        when = LIMITED[name]
        if arguments[when.argument] & 0xFFFFFFFF & when.mask in when.values:
            wanted = "allowed"
    assert run(PROGRAM, number, arguments) == VERDICTS[wanted]


@pytest.mark.parametrize("name", sorted(LIMITED))
def test_limited_calls_are_allowed_with_their_arguments_only(name: str) -> None:
    when = LIMITED[name]
    for value in when.values:
        arguments = tuple(value if position == when.argument else 0 for position in range(6))
        assert run(PROGRAM, NUMBERS[name], arguments) == VERDICTS["allowed"]
    other = next(value for value in (when.mask, 0, 1, 7) if value & when.mask not in when.values)
    arguments = tuple(other if position == when.argument else 0 for position in range(6))
    assert run(PROGRAM, NUMBERS[name], arguments) == VERDICTS[when.otherwise]


@given(st.integers(0, 2**32 - 1).filter(lambda value: value != AUDIT_ARCH_X86_64), st.integers(0, 600))
def test_another_architecture_is_deadly(architecture: int, number: int) -> None:
    """32-bit code can call a 64-bit kernel, with numbers of its own."""
    assert run(PROGRAM, number, architecture=architecture) == VERDICTS["deadly"]


@given(st.integers(X32_BIT, 2**32 - 1))
def test_the_other_names_of_calls_are_deadly(number: int) -> None:
    assert run(PROGRAM, number) == VERDICTS["deadly"]


@pytest.mark.parametrize(
    "name", ["execve", "execveat", "ptrace", "mount", "setns", "unshare", "bpf", "fork", "setresuid"]
)
def test_what_a_taken_vmm_would_do_first_is_deadly(name: str) -> None:
    assert run(PROGRAM, NUMBERS[name], (2**64 - 1,) * 6) == VERDICTS["deadly"]


def test_the_program_fits_the_kernel() -> None:
    assert len(PROGRAM) <= 4096
    assert all(0 <= jump < 256 for _, if_true, if_false, _ in PROGRAM for jump in (if_true, if_false))
    assert len(seccomp.encoded(PROGRAM)) == 8 * len(PROGRAM)
    assert PROGRAM[-1] == (seccomp.RETURN, 0, 0, VERDICTS["refused"])


def test_calls_that_are_always_allowed_are_decided_by_their_number() -> None:
    """Only then does the kernel's action cache answer, without running the program (Linux, kernel/seccomp.c)."""
    for name in ALLOWED:
        loads = [
            operand for operand in trace(NUMBERS[name]) if operand not in (seccomp.NUMBER_AT, seccomp.ARCHITECTURE_AT)
        ]
        assert loads == [], name


def trace(number: int) -> list[int]:
    """The offsets that the program loads for a call."""
    loads: list[int] = []
    register, position = 0, 0
    while True:
        code, if_true, if_false, operand = PROGRAM[position]
        position += 1
        if code == seccomp.LOAD:
            loads.append(operand)
            register = {seccomp.NUMBER_AT: number, seccomp.ARCHITECTURE_AT: AUDIT_ARCH_X86_64}.get(operand, 0)
        elif code == seccomp.JUMP_EQUAL:
            position += if_true if register == operand else if_false
        elif code == seccomp.JUMP_GREATER_OR_EQUAL:
            position += if_true if register >= operand else if_false
        elif code == seccomp.RETURN:
            return loads
