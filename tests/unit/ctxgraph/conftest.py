"""Stores and services in temporary folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.ctxgraph.batch import Ack, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.store import Store


def make_write(agent: str, key: str, value: Any, **options: Any) -> Write:
    text = canonical(value)
    return Write(agent, key, entry_hash(agent, key, text), text, **options)


def acknowledged(store: Store, *ops: Op) -> list[Ack]:
    outcomes = store.apply(ops)
    for outcome in outcomes:
        if not isinstance(outcome, Ack):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Ack)]


@pytest.fixture(scope="session")
def write() -> Callable[..., Write]:
    """`write(agent, key, value, **options)` → the operation."""
    return make_write


@pytest.fixture(scope="session")
def put() -> Callable[..., list[Ack]]:
    """`put(store, *ops)` → acknowledgements, raising the first refusal."""
    return acknowledged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ctxgraph.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()
