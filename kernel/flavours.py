"""The kernels this project builds: which fragments make which flavour, and the key of a finished build (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernel import check

FRAGMENTS = Path(__file__).parent / "fragments"

Compiler = Literal["gcc", "clang"]

# Raise when the builder itself changes what it makes from the same inputs.
BUILDER_VERSION = 1


@dataclass(frozen=True)
class Flavour:
    """One kernel: its fragments, lowest first, and roughly how many objects it compiles (for progress only)."""

    name: str
    fragments: tuple[str, ...]
    objects: int


FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("virt", ("base", "hardening", "virt"), objects=1500),
        Flavour("hardware", ("base", "hardening", "virt", "hardware"), objects=1900),
    )
}

COMPILER_FRAGMENTS: Mapping[Compiler, tuple[str, ...]] = {"gcc": (), "clang": ("clang",)}
"""What a compiler adds to every flavour, laid over it last."""


def read_fragments(flavour: Flavour, compiler: Compiler, folder: Path = FRAGMENTS) -> dict[str, str]:
    """The options asked of a flavour that this compiler builds, fragments laid over each other; reads their files."""
    names = flavour.fragments + COMPILER_FRAGMENTS[compiler]
    return check.merge(check.parse((folder / f"{name}.config").read_text(), f"{name}.config") for name in names)


def build_key(source_version: str, options: Mapping[str, str], toolchain: str, flavour: str) -> str:
    """Name of a finished build: equal inputs give an equal key. Comments and order of fragments do not count."""
    inputs = json.dumps(
        [BUILDER_VERSION, source_version, flavour, toolchain, sorted(options.items())], ensure_ascii=True
    )
    return f"{flavour}-{source_version}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
