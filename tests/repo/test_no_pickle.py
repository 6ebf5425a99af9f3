"""No pickle on any socket: nothing of ours can make or read one, and neither does what of Thespian's runs with ours."""

from __future__ import annotations

import ast
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.actors.base import BaseActor
from nullbox.protocols.messages import Address, Query, Reply
from nullbox.testing import processes

ROOT = Path(__file__).resolve().parents[2]
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "multiprocessing"}
"""Modules that turn bytes into code or objects of any class."""
BYTE_CODE = {"nullbox/bootstrap/precompiled.py": ["marshal"]}
"""It is part of importing: what Python does with any file of byte code, this does with one of the verified image."""


def sources() -> Iterator[Path]:
    """What runs on a system. What builds it on a developer's machine opens no socket of ours."""
    for package in ("nullbox", "pykrun", "agents"):
        yield from (ROOT / package).rglob("*.py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def test_no_module_imports_a_format_that_can_carry_code() -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(UNSAFE & set(imported(ast.parse(path.read_text())))) for path in sources()
    }
    assert {path: names for path, names in found.items() if names} == BYTE_CODE
    assert len(found) > 20


@pytest.mark.parametrize("path", BYTE_CODE)
def test_what_loads_byte_code_reads_files_and_nothing_else(path: str) -> None:
    used = set(imported(ast.parse((ROOT / path).read_text())))
    assert used & {"socket", "asyncio", "select", "mmap", "multiprocessing", "subprocess", "nullbox"} == set()


def test_no_module_uses_thespians_serializers() -> None:
    for path in sources():
        text = path.read_text()
        for name in (
            "TCPTransport",
            "UDPTransport",
            "MultiprocessQueueTransport",
            "serializer.dumps",
            "serializer.loads",
        ):
            assert name not in text, f"{path} mentions {name}"


class Tripwire(BaseActor):
    """Answers whether a pickle was made or read in its process since it was forked."""

    def on_query(self, query: Query, sender: Address) -> None:
        self.tell(sender, Reply(query.request_id, TRIPPED[:]))


TRIPPED: list[str] = []


def tripwire(name: str) -> Any:
    def trip(*_arguments: Any, **_options: Any) -> Any:
        TRIPPED.append(name)
        raise AssertionError(f"{name} was called")

    return trip


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every door to pickle raises, in this process and in all that are forked from it."""
    TRIPPED.clear()
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, tripwire(f"pickle.{name}"))
        if hasattr(sys.modules.get("_pickle"), name):
            monkeypatch.setattr(sys.modules["_pickle"], name, tripwire(f"_pickle.{name}"))


def test_a_whole_system_runs_where_every_door_to_pickle_raises(no_pickle: None) -> None:
    with processes() as system:
        first, second = system.start(Tripwire), system.start(Tripwire, child_id="second")
        for actor in (first, second):
            assert system.ask(actor, Query(1, "tripped")) == Reply(1, [])
        system.kill(first)
        assert system.ended(first).kind == "signal"
        assert system.stop(second).kind == "shutdown"
    assert TRIPPED == []
