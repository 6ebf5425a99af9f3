"""Options of `nullbox` that name a file or a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Any], Any]


def folder_option(name: str, text: str, *, exists: bool = False) -> Decorator:
    """exists: it has to be there."""
    kind = click.Path(path_type=Path, file_okay=False, exists=exists)
    return click.option(name, type=kind, metavar="DIR", help=text)


def file_option(name: str, text: str, *, exists: bool = False) -> Decorator:
    """exists: it has to be there."""
    kind = click.Path(path_type=Path, dir_okay=False, exists=exists)
    return click.option(name, type=kind, metavar="FILE", help=text)


build_option = folder_option("--build", "Folder of kernel and image.")
