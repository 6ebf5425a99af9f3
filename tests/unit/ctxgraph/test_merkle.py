"""The Merkle tree against the text of RFC 6962, and proofs against a verifier that shares no code with it."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sizes import sized

from nullbox.ctxgraph.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_data,
    leaf_hash,
    peaks,
    range_root,
)
from nullbox.ctxgraph.proofs import Checkpoint, ProofError, check_consistency, check_inclusion


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word, over leaf data."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


class Tree:
    """A log in memory, with the tiles that a store would keep."""

    def __init__(self, size: int) -> None:
        self.records = [
            {
                "seq": n,
                "ts_ns": 10**18 + n,
                "kind": 0,
                "expires_ns": 0,
                "hash": hashlib.sha256(bytes([n % 251])).hexdigest(),
                "agent_id": "pulse",
                "key": f"pulse.{n}",
            }
            for n in range(1, size + 1)
        ]
        self.data = [
            leaf_data(0, r["seq"], r["ts_ns"], 0, bytes.fromhex(r["hash"]), r["agent_id"], r["key"])  # type: ignore[arg-type]
            for r in self.records
        ]
        self.leaves = [leaf_hash(each) for each in self.data]
        self.frontier = Frontier()
        for leaf in self.leaves:
            self.frontier.append(leaf)
        self.stored = {(level, number): node for level, number, node in self.frontier.tiles}

    def tiles(self, level: int, first: int, count: int) -> list[bytes]:
        if level == 0:
            return self.leaves[first : first + count]
        return [self.stored[level, number] for number in range(first, first + count)]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(size, range_root(self.tiles, 0, size).hex())

    def proof(self, seq: int, size: int) -> dict[str, Any]:
        checkpoint = self.checkpoint(size)
        path = inclusion_proof(self.tiles, seq - 1, size)
        return {
            "size": checkpoint.size,
            "root": checkpoint.root,
            "record": self.records[seq - 1],
            "path": [step.hex() for step in path],
        }


TREE = Tree(1100)  # more than four tiles
BIG = Tree(66_000)  # one complete tile of the second level


def test_rfc_6962_roots() -> None:
    assert mth([]) == EMPTY_ROOT == Frontier().root()
    frontier = Frontier()
    for size, leaf in enumerate(TREE.leaves[:300], 1):
        frontier.append(leaf)
        assert frontier.root() == mth(TREE.data[:size]) == range_root(TREE.tiles, 0, size)


def test_only_every_256th_node_is_kept() -> None:
    assert set(TREE.stored) == {(1, 0), (1, 1), (1, 2), (1, 3)}
    assert (2, 0) in BIG.stored
    assert len(BIG.stored) == 66_000 // 256 + 1
    assert range_root(BIG.tiles, 0, 66_000) == BIG.frontier.root()


@given(st.integers(0, 1100))
def test_a_frontier_goes_on_from_the_stored_tiles(size: int) -> None:
    frontier = Frontier(size, peaks(TREE.tiles, size))
    for leaf in TREE.leaves[size:]:
        frontier.append(leaf)
    assert frontier.root() == TREE.frontier.root()


@given(st.data())
def test_every_record_can_be_proved_at_every_size(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 1100))
    seq = data.draw(st.integers(1, size))
    check_inclusion(TREE.checkpoint(size), TREE.proof(seq, size))


@given(st.data())
def test_every_size_is_consistent_with_every_later_one(data: st.DataObject) -> None:
    new = data.draw(st.integers(0, 1100))
    old = data.draw(st.integers(0, new))
    path = [step.hex() for step in consistency_proof(TREE.tiles, old, new)]
    check_consistency(TREE.checkpoint(old), TREE.checkpoint(new), path)


def test_proofs_over_second_level_tiles() -> None:
    for seq in (1, 65_536, 65_537, 66_000):
        check_inclusion(BIG.checkpoint(66_000), BIG.proof(seq, 66_000))
    path = [step.hex() for step in consistency_proof(BIG.tiles, 65_000, 66_000)]
    check_consistency(BIG.checkpoint(65_000), BIG.checkpoint(66_000), path)


def flipped_hex(text: str) -> list[str]:
    raw = bytes.fromhex(text)
    return [
        (raw[:byte] + bytes([raw[byte] ^ (1 << bit)]) + raw[byte + 1 :]).hex()
        for byte in range(len(raw))
        for bit in range(8)
    ]


def flipped(value: Any) -> list[Any]:
    """Every change of one bit of a number, a hash or a text."""
    if isinstance(value, int):
        return [value ^ (1 << bit) for bit in range(64)]
    if len(value) == 64:
        return flipped_hex(value)
    raw = bytearray(value.encode())
    changed = []
    for byte in range(len(raw)):
        for bit in range(7):
            other = raw.copy()
            other[byte] ^= 1 << bit
            changed.append(other.decode("latin-1"))
    return changed


@pytest.mark.parametrize(("seq", "size"), [(1, 1), (3, 7), (7, 7), (5, 8), (200, 300)])
def test_every_single_bit_change_of_an_inclusion_proof_fails(seq: int, size: int) -> None:
    checkpoint, proof = TREE.checkpoint(size), TREE.proof(seq, size)
    check_inclusion(checkpoint, proof)
    tampered: list[dict[str, Any]] = []
    for name in ("size", "root"):
        tampered += [{**proof, name: other} for other in flipped(proof[name])]
    for name, value in proof["record"].items():
        tampered += [{**proof, "record": {**proof["record"], name: other}} for other in flipped(value)]
    for index, step in enumerate(proof["path"]):
        for other in flipped_hex(step):
            changed = copy.deepcopy(proof)
            changed["path"][index] = other
            tampered.append(changed)
    tampered.append({**proof, "path": proof["path"] + ["0" * 64]})
    if proof["path"]:
        tampered.append({**proof, "path": proof["path"][:-1]})
        tampered.append({**proof, "path": proof["path"][1:]})
    for changed in tampered:
        with pytest.raises(ProofError):
            check_inclusion(checkpoint, changed)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 8), (6, 8), (200, 300), (256, 300)])
def test_every_single_bit_change_of_a_consistency_proof_fails(old: int, new: int) -> None:
    before, after = TREE.checkpoint(old), TREE.checkpoint(new)
    path = [step.hex() for step in consistency_proof(TREE.tiles, old, new)]
    check_consistency(before, after, path)
    for index, step in enumerate(path):
        for other in flipped_hex(step):
            with pytest.raises(ProofError):
                check_consistency(before, after, [*path[:index], other, *path[index + 1 :]])
    for other in flipped_hex(before.root):
        with pytest.raises(ProofError):
            check_consistency(Checkpoint(old, other), after, path)
    for other in flipped_hex(after.root):
        with pytest.raises(ProofError):
            check_consistency(before, Checkpoint(new, other), path)
    for wrong in (path[:-1], path[1:], [*path, "0" * 64], []):
        with pytest.raises(ProofError):
            check_consistency(before, after, wrong)


def test_a_rewritten_history_of_the_same_size_is_seen() -> None:
    with pytest.raises(ProofError, match="rewritten"):
        check_consistency(Checkpoint(5, "0" * 64), TREE.checkpoint(5), [])
    with pytest.raises(ProofError, match="fewer"):
        check_consistency(TREE.checkpoint(6), TREE.checkpoint(5), [])
    with pytest.raises(ProofError):
        check_consistency(Checkpoint(0, "0" * 64), TREE.checkpoint(5), [])


@settings(max_examples=sized(200))
@example({"seq": "0"})
@example({"seq": True})
@example({"agent_id": "\ud800"})
@given(st.dictionaries(st.sampled_from(["seq", "kind", "ts_ns", "hash", "agent_id"]), st.integers() | st.text()))
def test_nonsense_is_refused_and_never_an_accident(record: dict[str, Any]) -> None:
    proof = {**TREE.proof(3, 7), "record": {**TREE.records[2], **record}}
    if proof["record"] != TREE.records[2]:
        with pytest.raises(ProofError):
            check_inclusion(TREE.checkpoint(7), proof)
