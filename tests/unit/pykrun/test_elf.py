"""Exported names without loading: the same ones that loading shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykrun import FUNCTIONS, Library
from pykrun.elf import exported
from pykrun.lib import wheel_folder


def test_it_sees_what_the_loader_sees() -> None:
    wheel = wheel_folder()
    if wheel is None:
        pytest.skip("the smolmachines package is not installed")
    path = str(wheel / "libkrun.so")
    assert exported(path) & FUNCTIONS.keys() == Library(path).functions
    assert "krun_create_ctx" in exported(path)


def test_undefined_symbols_are_not_exported() -> None:
    """An extension module of Python asks for Python's functions, and defines one to start it."""
    import math

    if not hasattr(math, "__file__"):
        pytest.skip("math is built into this interpreter")
    names = exported(math.__file__)
    assert "PyInit_math" in names
    assert "PyFloat_FromDouble" not in names


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(58), b"#!/bin/sh\n" * 20])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match="ELF"):
        exported(tmp_path / "file")


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exported(tmp_path / "none")


HEAD = Path(sys.executable).resolve().read_bytes()[:64]


@given(st.binary(min_size=0, max_size=300))
def test_a_broken_file_is_a_value_error_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
    path = tmp_path_factory.mktemp("elf") / "file"
    path.write_bytes(HEAD + rest)
    with pytest.raises(ValueError, match=r"file|section|header|table"):
        exported(path)
