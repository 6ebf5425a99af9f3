"""Thespian's own messages travel as msgpack, with their types enforced; what has no business on a socket does not."""

from __future__ import annotations

import logging
from typing import Any

import message_strategies
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import sized
from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    LoadedSource,
    PoisonMessage,
    ValidateSource,
)
from thespian.system.messages import admin, convention

from nullbox.actors.transport import system_messages
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import Address

HERE = ActorAddress(Address("actor.12.1"))


def through(message: Any) -> Any:
    return system_messages.decode(system_messages.encode(message))


@pytest.mark.parametrize("twin", system_messages._ORIGINALS, ids=lambda twin: twin.__name__)
def test_every_system_message_comes_back_as_it_went(twin: type) -> None:
    original = system_messages._ORIGINALS[twin]
    names = system_messages._FIELDS[twin]

    @settings(max_examples=sized(30))
    @given(message_strategies.of_class(twin))
    def check(flat: Any) -> None:
        message = object.__new__(original) if original is not logging.LogRecord else logging.makeLogRecord({})
        for name in names:
            setattr(message, name, system_messages._inward(getattr(flat, name)))
        found = through(message)
        assert type(found) is original
        for name in names:
            assert system_messages._outward(getattr(found, name)) == getattr(flat, name)

    check()


def test_what_is_made_by_thespian_itself_travels() -> None:
    found = through(admin.PendingActor("m.Class", None, 1, {"child_id": "nulld"}, None))
    assert (found.actorClassName, found.targetActorReq, found.alreadyTried) == ("m.Class", {"child_id": "nulld"}, [])
    assert through(admin.PendingActorResponse(None, 1, None, actualAddress=HERE)).actualAddress == HERE
    assert through(ActorExitRequest()).isRecursive
    assert isinstance(through(admin.QueryAck("x", 1, False)), admin.QueryAck)


@pytest.mark.parametrize(
    "message",
    [
        ValidateSource("hash", b"code"),
        LoadedSource("hash", "info"),
        admin.PendingActor("m.Class", None, 1, None, None, sourceHash="hash"),
        convention.ConventionRegister(HERE, {}),
        ChildActorExited(HERE),
        PoisonMessage("x"),
        DeadEnvelope(HERE, "x"),
        object(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_code_conventions_and_death_notices_do_not_travel(message: Any) -> None:
    with pytest.raises(CodecError):
        system_messages.encode(message)


@pytest.mark.parametrize(
    "flat",
    [
        ["ValidateSource", "hash", b"code", None],
        ["ChildActorExited", "actor.1.1"],
        ["EndpointConnected", "one"],
        ["ActorExitRequest", 1],
        ["PendingActor", "m.C", None, 1, None, None, "hash", []],
        ["Ping", 1],
    ],
    ids=lambda flat: str(flat[0]),
)
def test_what_is_not_in_the_table_or_wrongly_typed_is_refused(flat: list[Any]) -> None:
    with pytest.raises(CodecError):
        system_messages.decode(b"\x01" + msgpack.packb(flat))


@settings(max_examples=sized(300))
@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for each in (data, b"\x01" + data):
        try:
            system_messages.decode(each)
        except CodecError:
            continue
