"""Thespian without what it names and nothing here uses: a fifth of what loading it takes, and of its memory.

- `multiprocessing`: for making processes, which `process` does.
- `logging.config`: for its logger's settings; `logs` makes ours by hand.
- `zipfile`: for actors' code that comes in messages, which the transport takes none of.

What a stock Thespian in the same process (the tests have some) uses after all is loaded then.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Any

from nullbox.protocols.lean import StandIns, stood_in


def of_multiprocessing(name: str) -> Any:
    """An attribute of `multiprocessing`, loaded when it is asked for."""
    return getattr(importlib.import_module("multiprocessing"), name)


def dict_config(settings: Any) -> None:
    """`logging.config.dictConfig`, loaded when it is called."""
    import logging.config

    logging.config.dictConfig(settings)


def zip_file(*arguments: Any) -> Any:
    """`zipfile.ZipFile`, loaded when it is called."""
    import zipfile

    return zipfile.ZipFile(*arguments)


STAND_INS: StandIns = MappingProxyType(
    {
        "multiprocessing": {"__getattr__": of_multiprocessing},
        "logging.config": {"dictConfig": dict_config},
        "zipfile": {"ZipFile": zip_file, "BadZipFile": ValueError},
    }
)

with stood_in(STAND_INS):
    import thespian.system.logdirector
    import thespian.system.sourceLoader  # noqa: F401
