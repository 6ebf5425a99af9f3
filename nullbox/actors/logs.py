"""Log records of actors: to the administrator, which passes them to the logger's process.

An edge module: it changes the process's logging. Logging never blocks an actor: a record that does not fit into
the outbox is lost, and counted (`UnixTransport.lost_log_records`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from nullbox.actors.transport import system_messages
from nullbox.actors.transport.packet import Kind
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import Address

FORMAT = "%(asctime)s %(levelname)s %(actorAddress)s %(name)s: %(message)s"
MAX_TEXT = 32 * 1024
"""Most characters of one log message."""


class ForwardHandler(logging.Handler):
    """Sends records to `target`. Works in every thread."""

    def __init__(self, transport: UnixTransport, target: Callable[[], Address]) -> None:
        super().__init__()
        self._transport = transport
        self._target = target
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._busy, "now", False):  # sending this record made the transport log something
            self._transport.lost_log_records += 1
            return
        self._busy.now = True
        try:
            body = system_messages.encode(_flat(record, self._transport.name))
            if self._transport.poller.on_own_thread():
                self._send(body)
            elif not self._transport.poller.call(self._send, body):
                self._transport.lost_log_records += 1
        except CodecError:
            self._transport.lost_log_records += 1
        finally:
            self._busy.now = False

    def _send(self, body: bytes) -> None:
        self._transport.send(self._target(), Kind.SYSTEM, body, "LogRecord")


def _flat(record: logging.LogRecord, name: str) -> logging.LogRecord:
    """A copy whose message is formatted and whose traceback is text: plain data."""
    try:
        text = record.getMessage()
    except Exception as error:
        text = f"{record.msg!r} with arguments that do not fit it: {error}"
    trace = record.exc_text
    if trace is None and record.exc_info:
        trace = logging.Formatter().formatException(record.exc_info)
    flat = logging.makeLogRecord(record.__dict__)
    flat.msg, flat.args, flat.exc_info = text[:MAX_TEXT], None, None
    flat.exc_text = trace[-MAX_TEXT:] if trace else None
    flat.actorAddress = name
    return flat


def forward(transport: UnixTransport, target: Callable[[], Address]) -> None:
    """Send all that is logged in this process to `target` from now on; no handler of the parent's is kept."""
    root = logging.getLogger()
    root.handlers[:] = [ForwardHandler(transport, target)]


def destination() -> logging.Handler:
    """Where the logger's process writes: standard error."""
    return logging.StreamHandler()


def write_lines(level: int) -> None:
    """What the logger's process does with records from now on: a line each, to the destination and nowhere else."""
    handler = destination()
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
