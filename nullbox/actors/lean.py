"""Thespian without what it names and nothing here uses: a fifth of what loading it takes, and of its memory.

- `multiprocessing`: for making processes, which `process` does.
- `logging.config`: for its logger's settings; `logs` makes ours by hand.
- `sourceLoader`, its own, and with it `ast`, `importlib.resources` and `zipfile`: for actors' code that comes in
  messages, which the transport takes none of.

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


def load_module(*arguments: Any) -> Any:
    """`sourceLoader.loadModuleFromHashSource`, loaded when it is called."""
    from thespian.system import sourceLoader

    return sourceLoader.loadModuleFromHashSource(*arguments)


def source_finder(*arguments: Any) -> Any:
    """`sourceLoader.SourceHashFinder`, loaded when one is made."""
    from thespian.system import sourceLoader

    return sourceLoader.SourceHashFinder(*arguments)


class NoSuchSource(Exception):
    """Instead of `sourceLoader.SourceHashNotLocallyAvailable`, which is raised by what is not there."""


STAND_INS: StandIns = MappingProxyType(
    {
        "multiprocessing": {"__getattr__": of_multiprocessing},
        "logging.config": {"dictConfig": dict_config},
        "thespian.system.sourceLoader": {
            "loadModuleFromHashSource": load_module,
            "SourceHashFinder": source_finder,
            "SourceHashNotLocallyAvailable": NoSuchSource,
        },
    }
)

with stood_in(STAND_INS):
    import thespian.system.actorManager
    import thespian.system.logdirector
    import thespian.system.multiprocCommon
    import thespian.system.systemAdmin  # noqa: F401
