"""Thespian's own messages ⇄ msgpack. Pure.

Each message that may cross a socket has a twin here: a dataclass of the same name and fields, whose annotations
are the types the codec enforces. What has no twin cannot be sent and is refused on arrival: loading of actor
sources and conventions of several hosts, which NullBox has no use for, and the death notices of children, which
come from the kernel and not from a socket.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import thespian.actors as public
from thespian.system import logdirector
from thespian.system.messages import admin, multiproc

from nullbox.protocols.codec import Codec, CodecError
from nullbox.protocols.messages import Address

# The fields are Thespian's, in its spelling.


@dataclass(frozen=True)
class EndpointConnected:
    childInstance: int | None


@dataclass(frozen=True)
class LoggerConnected:
    pass


@dataclass(frozen=True)
class LoggerExitRequest:
    pass


@dataclass(frozen=True)
class QueryExists:
    pass


@dataclass(frozen=True)
class QueryAck:
    systemName: str
    systemVersion: int
    inShutdown: bool


@dataclass(frozen=True)
class SystemShutdown:
    pass


@dataclass(frozen=True)
class SystemShutdownCompleted:
    pass


@dataclass(frozen=True)
class PendingActor:
    actorClassName: str
    forActor: Address | None
    instanceNum: int
    targetActorReq: dict[str, str] | None
    globalName: str | None
    sourceHash: None
    alreadyTried: list[Address]


@dataclass(frozen=True)
class PendingActorResponse:
    forActor: Address | None
    instanceNum: int
    errorCode: int | None
    actualAddress: Address | None
    globalName: str | None
    errorStr: str | None


@dataclass(frozen=True)
class ActorExitRequest:
    _recursive: bool


@dataclass(frozen=True)
class HandleDeadLetters:
    handlerAddr: Address
    enableHandler: bool


@dataclass(frozen=True)
class LogRecord:
    """The attributes of a `logging.LogRecord` that survive formatting."""

    name: str
    levelno: int
    levelname: str
    msg: str
    exc_text: str | None
    pathname: str
    lineno: int
    funcName: str | None
    created: float
    process: int | None
    threadName: str | None
    actorAddress: str


_TWINS: dict[type, type] = {
    multiproc.EndpointConnected: EndpointConnected,
    multiproc.LoggerConnected: LoggerConnected,
    logdirector.LoggerExitRequest: LoggerExitRequest,
    admin.QueryExists: QueryExists,
    admin.QueryAck: QueryAck,
    admin.SystemShutdown: SystemShutdown,
    admin.SystemShutdownCompleted: SystemShutdownCompleted,
    admin.PendingActor: PendingActor,
    admin.PendingActorResponse: PendingActorResponse,
    admin.HandleDeadLetters: HandleDeadLetters,
    public.ActorExitRequest: ActorExitRequest,
    logging.LogRecord: LogRecord,
}
_ORIGINALS = {twin: original for original, twin in _TWINS.items()}
_FIELDS = {twin: [field.name for field in dataclasses.fields(twin)] for twin in _ORIGINALS}
_CODEC = Codec({twin.__name__: twin for twin in _ORIGINALS})


def is_system(message: object) -> bool:
    """Whether this is a message of Thespian's (or a log record), and so none of NullBox's."""
    return isinstance(message, (public.ActorSystemMessage, logging.LogRecord))


def encode(message: object) -> bytes:
    """The bytes of one of Thespian's messages.

    Raises:
        CodecError: this kind does not travel.
    """
    twin = _TWINS.get(type(message))
    if twin is None:
        raise CodecError(f"Thespian's {type(message).__name__} does not travel between processes")
    return _CODEC.encode(twin(*[_outward(getattr(message, name, None)) for name in _FIELDS[twin]]))


def decode(body: bytes | memoryview) -> Any:
    """One of Thespian's messages.

    Raises:
        CodecError: and no other exception.
    """
    flat = _CODEC.decode(body)
    twin = type(flat)
    values = {name: getattr(flat, name) for name in _FIELDS[twin]}
    if twin is LogRecord:
        return logging.makeLogRecord(values)
    message: Any = object.__new__(_ORIGINALS[twin])
    for name, value in values.items():
        setattr(message, name, _inward(value))
    return message


def _outward(value: Any) -> Any:
    if isinstance(value, public.ActorAddress):
        details = value.addressDetails
        if not isinstance(details, Address):
            raise CodecError(f"{value} is known to this process only, so far")
        return details
    if isinstance(value, list):
        return [_outward(each) for each in value]
    return value


def _inward(value: Any) -> Any:
    if isinstance(value, Address):
        return public.ActorAddress(value)
    if isinstance(value, list):
        return [_inward(each) for each in value]
    return value
