"""Check what a log claims, with nothing but hashlib: for those who do not trust the store. Pure.

A *checkpoint* is what a verifier keeps: the size of the log and its root at that time. The root alone does not
fix the size, so a proof is always checked against both. Nothing here is shared with the code that makes proofs;
the algorithms are the iterative ones of RFC 9162 §2.1.3.2 and §2.1.4.2, the prover uses the recursive ones.

    checkpoint = Checkpoint(size, root)            # from `ctx root`, kept in a safe place
    check_inclusion(checkpoint, proof)             # answer of `ctx prove`
    check_consistency(checkpoint, newer, path)     # answer of `ctx consistency`
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class ProofError(ValueError):
    """The proof does not hold. The message says at which point."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log as it once was: its number of records and its Merkle root (64 hex digits)."""

    size: int
    root: str


def check_inclusion(checkpoint: Checkpoint, proof: Mapping[str, Any]) -> None:
    """Check that the record in `proof` is in the log of `checkpoint`, at its place.

    proof: `{"size", "root", "record": {"seq", "ts_ns", "kind", "expires_ns", "hash", "agent_id", "key"}, "path"}`.

    Raises:
        ProofError: it is not proved.
    """
    if (proof.get("size"), proof.get("root")) != (checkpoint.size, checkpoint.root):
        raise ProofError("the proof is for another checkpoint")
    node = _leaf(proof["record"])
    index, last = proof["record"]["seq"] - 1, checkpoint.size - 1
    if not 0 <= index <= last:
        raise ProofError(f"record {index + 1} is not one of {checkpoint.size}")
    for step in _path(proof["path"]):
        if last == 0:
            raise ProofError("the path is longer than the tree is high")
        if index & 1 or index == last:
            node = _node(step, node)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            node = _node(node, step)
        index >>= 1
        last >>= 1
    if last:
        raise ProofError("the path ends below the root")
    if node.hex() != checkpoint.root:
        raise ProofError("the path leads to another root")


def check_consistency(old: Checkpoint, new: Checkpoint, path: Sequence[str]) -> None:
    """Check that the log of `new` begins with all of the log of `old`, unchanged.

    Raises:
        ProofError: it is not proved.
    """
    steps = _path(path)
    if old.size > new.size:
        raise ProofError(f"the newer log has {new.size} records, fewer than {old.size}")
    if old.size == new.size or old.size == 0:
        if steps:
            raise ProofError("this proof must be empty")
        if old.size == new.size and old.root != new.root:
            raise ProofError("two logs of one size with different roots: history was rewritten")
        if old.size == 0 and old.root != hashlib.sha256(b"").hexdigest():
            raise ProofError("the empty log has another root")
        return
    if old.size & (old.size - 1) == 0:
        steps = [_hash(old.root), *steps]
    index, last = old.size - 1, new.size - 1
    while index & 1:
        index >>= 1
        last >>= 1
    if not steps:
        raise ProofError("the proof is empty")
    older = newer = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofError("the path is longer than the tree is high")
        if index & 1 or index == last:
            older, newer = _node(step, older), _node(step, newer)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            newer = _node(newer, step)
        index >>= 1
        last >>= 1
    if last:
        raise ProofError("the path ends below the root")
    if older.hex() != old.root:
        raise ProofError("the path does not lead to the old root: history was rewritten")
    if newer.hex() != new.root:
        raise ProofError("the path does not lead to the new root")


_FIELDS = {
    "seq": int,
    "ts_ns": int,
    "kind": int,
    "expires_ns": int,
    "hash": str,
    "agent_id": str,
    "key": str,
}


def _leaf(record: Mapping[str, Any]) -> bytes:
    """Leaf hash of a record: the layout is in docs/design/ctxgraph.md."""
    for name, kind in _FIELDS.items():
        if type(record.get(name)) is not kind:
            raise ProofError(f"the record's {name} is no {kind.__name__}")
    try:
        agent = record["agent_id"].encode()
        head = bytes([1, record["kind"]]) + b"".join(
            record[name].to_bytes(8, "big") for name in ("seq", "ts_ns", "expires_ns")
        )
        data = head + len(agent).to_bytes(2, "big") + _hash(record["hash"]) + agent + record["key"].encode()
    except (ValueError, OverflowError, TypeError) as error:
        raise ProofError(f"the record is malformed: {error}") from None
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _path(steps: Any) -> list[bytes]:
    if not isinstance(steps, list | tuple):
        raise ProofError("the path is no list")
    return [_hash(step) for step in steps]


def _hash(text: Any) -> bytes:
    if not isinstance(text, str) or len(text) != 64 or text != text.lower():
        raise ProofError("a hash is 64 lower-case hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProofError("a hash is 64 lower-case hex digits") from None
