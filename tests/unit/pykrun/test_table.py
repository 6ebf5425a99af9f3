"""The table of functions is total, well-formed, and agrees with the real library's exported symbols."""

from __future__ import annotations

import re
import subprocess
from shutil import which

import pytest

from pykrun.abi import EVERYWHERE, KINDS, SMOLMACHINES, Returns, row, table
from pykrun.functions import FUNCTIONS
from pykrun.lib import wheel_folder


def exported_symbols() -> set[str]:
    folder = wheel_folder()
    if folder is None:
        pytest.skip("the smolmachines package is not installed")
    if which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(folder / "libkrun.so")], check=True, capture_output=True, text=True
    ).stdout
    return set(re.findall(r" T (krun_\w+)", listing))


def test_every_symbol_of_the_wheel_is_described_and_no_other() -> None:
    described = {name for name, function in FUNCTIONS.items() if function.families & SMOLMACHINES}
    assert described == exported_symbols()


def test_every_row_has_a_text_a_family_and_known_kinds() -> None:
    for function in FUNCTIONS.values():
        assert function.doc.endswith("."), function.name
        assert function.families & EVERYWHERE, function.name
        assert all(argument.kind in KINDS for argument in function.arguments)
        names = [argument.name for argument in function.arguments]
        assert len(set(names)) == len(names), function.name


def test_numbers_have_the_bounds_of_their_width() -> None:
    assert (KINDS["u8"].low, KINDS["u8"].high) == (0, 255)
    assert (KINDS["i32"].low, KINDS["i32"].high) == (-(2**31), 2**31 - 1)
    assert KINDS["u64"].high == 2**64 - 1


def test_a_signature_reads_like_python() -> None:
    assert FUNCTIONS["krun_set_vm_config"].signature() == "krun_set_vm_config(ctx: int, vcpus: int, ram_mib: int)"
    assert FUNCTIONS["krun_get_last_error"].returns is Returns.TEXT


def test_an_unknown_kind_and_a_second_row_are_refused() -> None:
    with pytest.raises(ValueError, match="has no kind"):
        row("krun_x", "a:u128", "Nothing.")
    one = row("krun_x", "", "Nothing.")
    with pytest.raises(ValueError, match="two rows for krun_x"):
        table([one], [one])
