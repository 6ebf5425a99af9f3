"""The compiler on this host: how make is told to use it, and the text that identifies it (edge: runs compilers)."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from kernel.flavours import Compiler
from kernel.packages import BUILD_PACKAGES, CLANG_PACKAGES

TOOLS = ("make", "flex", "bison", "bc", "zstd", "xz", "tar", "dpkg-deb")


class ToolchainError(Exception):
    """A tool is missing; the message names it and the packages to install."""


@dataclass(frozen=True)
class Toolchain:
    """`arguments` go to make; `identity` enters the key of a build."""

    arguments: tuple[str, ...]
    identity: str


def missing_tools(tools: tuple[str, ...]) -> list[str]:
    """Those of `tools` that are not on the search path."""
    return [tool for tool in tools if shutil.which(tool) is None]


def find(compiler: Compiler) -> Toolchain:
    """The newest usable toolchain of the kind asked for."""
    if compiler == "gcc":
        _require(("gcc", "ld", "objcopy"), BUILD_PACKAGES)
        return Toolchain(("CC=gcc",), f"{_first_line('gcc')} / {_first_line('ld')}")
    for suffix in ("", "-19"):
        if shutil.which(f"clang{suffix}") and shutil.which(f"ld.lld{suffix}") and shutil.which(f"llvm-ar{suffix}"):
            identity = f"{_first_line(f'clang{suffix}')} / {_first_line(f'ld.lld{suffix}')}"
            return Toolchain((f"LLVM={suffix or 1}",), identity)
    raise ToolchainError(
        f"clang with lld and the llvm tools is not installed; install the packages {' '.join(CLANG_PACKAGES)}"
    )


def require_build_tools() -> None:
    """Raise `ToolchainError` when a tool of the build itself is missing."""
    _require(TOOLS, BUILD_PACKAGES)


def _require(tools: tuple[str, ...], packages: tuple[str, ...]) -> None:
    if missing := missing_tools(tools):
        raise ToolchainError(f"{', '.join(missing)} not found; install the packages {' '.join(packages)}")


def _first_line(tool: str) -> str:
    run = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[0]
