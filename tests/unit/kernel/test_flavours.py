"""The fragments as data, and the key of a finished build."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from kernel.flavours import (
    COMPILER_FRAGMENTS,
    FLAVOURS,
    FRAGMENTS,
    Compiler,
    Flavour,
    build_key,
    read_fragments,
)

OPTIONS = {"SMP": "y", "MODULES": "n"}


def key(version: str = "6.12.1-1", toolchain: str = "gcc 12 / ld 2.40", flavour: str = "virt") -> str:
    return build_key(version, OPTIONS, toolchain, flavour)


def test_the_key_ignores_the_order_of_options() -> None:
    assert key() == build_key("6.12.1-1", dict(reversed(OPTIONS.items())), "gcc 12 / ld 2.40", "virt")


@pytest.mark.parametrize(
    "other",
    [
        key(version="6.12.2-1"),
        key(toolchain="gcc 13 / ld 2.40"),
        key(flavour="hardware"),
        build_key("6.12.1-1", {**OPTIONS, "SMP": "n"}, "gcc 12 / ld 2.40", "virt"),
        build_key("6.12.1-1", {"SMP": "y"}, "gcc 12 / ld 2.40", "virt"),
    ],
)
def test_the_key_changes_with_every_input(other: str) -> None:
    assert other != key()


def test_a_comment_does_not_cause_a_rebuild(tmp_path: Path) -> None:
    flavour = Flavour("x", ("a",), objects=1)
    fragment = tmp_path / "a.config"
    fragment.write_text("CONFIG_A=y\n")
    before = read_fragments(flavour, "gcc", tmp_path)
    fragment.write_text("# why\nCONFIG_A=y\n")
    assert read_fragments(flavour, "gcc", tmp_path) == before


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=list(FLAVOURS))
def test_a_flavour_consists_of_base_hardening_and_itself(flavour: Flavour) -> None:
    assert flavour.fragments[:2] == ("base", "hardening")
    assert flavour.fragments[-1] == flavour.name


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=list(FLAVOURS))
@pytest.mark.parametrize("compiler", get_args(Compiler))
def test_no_flavour_has_modules_or_io_uring(flavour: Flavour, compiler: Compiler) -> None:
    options = read_fragments(flavour, compiler)
    assert options["MODULES"] == options["IO_URING"] == "n"
    assert "m" not in options.values()


def test_every_fragment_is_part_of_some_kernel() -> None:
    used = {name for flavour in FLAVOURS.values() for name in flavour.fragments}
    used |= {name for names in COMPILER_FRAGMENTS.values() for name in names}
    assert used == {path.stem for path in FRAGMENTS.glob("*.config")}


def test_what_only_clang_can_build_is_asked_of_clang_only() -> None:
    virt = FLAVOURS["virt"]
    assert read_fragments(virt, "clang")["CFI_CLANG"] == "y"
    assert "CFI_CLANG" not in read_fragments(virt, "gcc")


@pytest.mark.parametrize("path", sorted(FRAGMENTS.glob("*.config")), ids=lambda path: path.stem)
def test_every_group_of_options_says_why(path: Path) -> None:
    for block in path.read_text().split("\n\n"):
        assert block.lstrip().startswith("#"), f"{path.name}: no comment above {block.splitlines()[0]}"


@pytest.mark.parametrize("path", sorted(FRAGMENTS.glob("*.config")), ids=lambda path: path.stem)
def test_no_option_is_named_twice_in_a_fragment(path: Path) -> None:
    named = [line.split("=")[0] for line in path.read_text().splitlines() if line.startswith("CONFIG_")]
    assert len(named) == len(set(named))
