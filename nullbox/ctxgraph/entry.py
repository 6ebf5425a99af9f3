"""What is stored: entries, their address, and what is refused. Pure.

    hash = SHA-256(agent_id ‖ 0x00 ‖ key ‖ 0x00 ‖ RFC 8785 canonical JSON of value)

NUL is refused in agent ids and keys, so that no two triples have one concatenation.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

MAX_KEY = 512
"""Longest key in bytes of UTF-8."""
MAX_AGENT_ID = 64
MAX_PARENTS = 64
ENVELOPE = "$ctxgraph"
"""Member that marks a value as an envelope, version 1: `{"$ctxgraph": 1, "parents": [hash, …], "value": …}`."""

_ENVELOPE_TEXT = f'{{"{ENVELOPE}":1,"parents":['
_quoted = json.encoder.encode_basestring_ascii
_HEX = re.compile(r"[0-9a-f]{64}")


class Kind(IntEnum):
    """What a record of the log says. The numbers are on disk and in the tree's leaves: never reuse one.

    A `DELETE` or `EXPIRE` ends the key's head (the object it names); an `ERASE` says that the object's payload was
    destroyed on purpose.
    """

    WRITE = 0
    DELETE = 1
    EXPIRE = 2
    ERASE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the log together with the object that it names.

    hash: the object's address, 32 bytes.
    agent_id: who made this record (for a WRITE also part of the address).
    text: the value's canonical JSON, or None once it was erased.
    seq: position in the log, from 1 and without gaps.
    ts_ns: nanoseconds since the epoch; never less than that of the record before.
    expires_ns: when a WRITE ends by itself; 0 is never.
    """

    hash: bytes
    agent_id: str
    key: str
    text: str | None
    seq: int
    ts_ns: int
    kind: Kind = Kind.WRITE
    expires_ns: int = 0
    parents: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The entry as clients get it. Members that would say nothing (no expiry, no parents) are left out."""
        value = None if self.text is None else json.loads(self.text)
        shown: dict[str, Any] = {
            "hash": self.hash.hex(),
            "agent_id": self.agent_id,
            "key": self.key,
            "value": value,
            "seq": self.seq,
            "ts_ns": self.ts_ns,
        }
        if self.kind is not Kind.WRITE:
            shown["event"] = self.kind.name.lower()
        if self.text is None:
            shown["erased"] = True
        if self.expires_ns:
            shown["expires_ns"] = self.expires_ns
        if isinstance(value, dict) and ENVELOPE in value:
            shown["parents"] = value["parents"]
        return shown


def entry_text(entry: Entry) -> bytes:
    """`entry.to_json()` as JSON text, with the value as it is stored: nothing is taken apart and put together again."""
    text = entry.text
    parts = [
        f'{{"hash":"{entry.hash.hex()}","agent_id":{_quoted(entry.agent_id)},"key":{_quoted(entry.key)},'
        f'"value":{"null" if text is None else text},"seq":{entry.seq},"ts_ns":{entry.ts_ns}'
    ]
    if entry.kind is not Kind.WRITE:
        parts.append(f',"event":"{entry.kind.name.lower()}"')
    if text is None:
        parts.append(',"erased":true')
    elif text.startswith(_ENVELOPE_TEXT):
        # An envelope's members are in this order in canonical JSON, and hashes hold no bracket.
        parts.append(f',"parents":[{text[len(_ENVELOPE_TEXT) : text.index("]")]}]')
    if entry.expires_ns:
        parts.append(f',"expires_ns":{entry.expires_ns}')
    return "".join((*parts, "}")).encode()


def entry_hash(agent_id: str, key: str, text: bytes) -> bytes:
    """The address of the object that `agent_id` writes under `key` with the canonical text `text`."""
    return hashlib.sha256(b"%b\0%b\0%b" % (agent_id.encode(), key.encode(), text)).digest()


def check_agent_id(agent_id: str) -> str:
    """Return the id if it can be hashed unambiguously. Raises NullBoxError `invalid`."""
    return check_text("agent_id", agent_id, MAX_AGENT_ID)


def check_key(key: Any) -> str:
    """Return the key if it is 1 to MAX_KEY bytes of UTF-8 without NUL. Raises NullBoxError `invalid`."""
    return check_text("key", key, MAX_KEY)


def check_prefix(prefix: Any) -> str:
    """A prefix is a key that may also be empty (everything)."""
    return "" if prefix == "" else check_text("prefix", prefix, MAX_KEY)


def parse_hash(text: Any, name: str = "hash") -> bytes:
    """The 32 bytes of a hash written as 64 lower-case hex digits. Raises NullBoxError `invalid`."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        found = repr(text[:80]) if isinstance(text, str) else type(text).__name__
        raise NullBoxError(ErrorCode.INVALID, f"{name}: {found} is no hash; give 64 lower-case hex digits")
    return bytes.fromhex(text)


def envelop(value: Any, parents: Any) -> Any:
    """The value that records which entries `value` was made from. It is this envelope that is hashed."""
    return {ENVELOPE: 1, "parents": check_parents(parents), "value": value}


def parents_of(value: Any) -> list[str]:
    """The parents that a value names: those of a well-formed envelope, none for any other value.

    Raises:
        NullBoxError: `invalid`, the value is marked as an envelope and is none.
    """
    if not isinstance(value, dict) or ENVELOPE not in value:
        return []
    version = value[ENVELOPE]
    if type(version) is not int or version != 1:
        raise NullBoxError(ErrorCode.INVALID, f'"{ENVELOPE}": version {version!r} is not known; use 1')
    if set(value) != {ENVELOPE, "parents", "value"}:
        found = ", ".join(sorted(value))
        message = f'an envelope has exactly "{ENVELOPE}", "parents" and "value"; found {found}'
        raise NullBoxError(ErrorCode.INVALID, message)
    return check_parents(value["parents"])


def check_parents(parents: Any) -> list[str]:
    """Raises NullBoxError `invalid` unless this is a list of at most MAX_PARENTS different hashes."""
    if not isinstance(parents, list | tuple) or len(parents) > MAX_PARENTS:
        message = f"parents: give a list of at most {MAX_PARENTS} hashes"
        raise NullBoxError(ErrorCode.INVALID, message)
    for index, parent in enumerate(parents):
        parse_hash(parent, f"parents[{index}]")
    if len(set(parents)) != len(parents):
        raise NullBoxError(ErrorCode.INVALID, "parents: a hash is named twice; name each once")
    return list(parents)


def check_text(name: str, text: Any, limit: int = MAX_KEY) -> str:
    """Return a text of 1 to `limit` bytes of UTF-8 without NUL. Raises NullBoxError `invalid` that names it."""
    if not isinstance(text, str):
        raise NullBoxError(ErrorCode.INVALID, f"{name} must be a text, not {type(text).__name__}")
    if "\0" in text:
        raise NullBoxError(ErrorCode.INVALID, f"{name} holds a NUL character, which is not allowed")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise NullBoxError(ErrorCode.INVALID, f"{name} holds a lone surrogate; use valid Unicode") from None
    if not 1 <= size <= limit:
        message = f"{name} is {size} bytes of UTF-8; it must have 1 to {limit}"
        raise NullBoxError(ErrorCode.INVALID, message, {"limit": limit, "found": size})
    return text
