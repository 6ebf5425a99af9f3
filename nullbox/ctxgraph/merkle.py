"""The Merkle tree over the log, prover's side: RFC 6962 §2.1 hashing, stored by tiles. Pure.

A tree of n leaves is cut as RFC 6962 says: the left part is the largest power of two below n. Of the inner nodes
only every eighth level is kept ("tiles" of 256 children, as in tiled transparency logs): a row for every 256
records instead of one for each, and any other node is recomputed from at most 255 hashes.

`nullbox.ctxgraph.proofs` checks proofs and shares no code with this module, on purpose.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence

HASH_SIZE = 32
TILE_BITS = 8
TILE = 1 << TILE_BITS
LEAF_VERSION = 1

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the empty tree (RFC 6962 §2.1)."""

Tiles = Callable[[int, int, int], Sequence[bytes]]
"""`tiles(level, first, count)`: the hashes of nodes `first` … of tile level `level` (0: leaves, 1: roots of 256
leaves each, 2: of 65,536, …)."""

_sha256 = hashlib.sha256
_HEAD = struct.Struct(">BBQqqH")


def leaf_data(kind: int, seq: int, ts_ns: int, expires_ns: int, object_hash: bytes, agent_id: str, key: str) -> bytes:
    """The bytes of a record that its leaf commits to.

    version (1), kind (1), seq (8), ts_ns (8), expires_ns (8), length of agent_id (2), all big-endian; then the
    object's hash (32), agent_id, key. The object's hash covers the value, so a payload can be erased and all
    proofs stay valid.
    """
    agent = agent_id.encode()
    return _HEAD.pack(LEAF_VERSION, kind, seq, ts_ns, expires_ns, len(agent)) + object_hash + agent + key.encode()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The tree while it grows: the roots of its complete subtrees, largest first, one for each bit of the size.

    It hashes nodes itself, as `node_hash` does: a call for each would cost as much as the hash.
    `append` costs one node hash on average; `tiles` collects the nodes of tile levels that became complete.
    """

    __slots__ = ("_peaks", "size", "tiles")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks)}")
        self.size = size
        self._peaks = list(peaks)
        self.tiles: list[tuple[int, int, bytes]] = []

    def copy(self) -> Frontier:
        return Frontier(self.size, self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        node, index, height = leaf, self.size, 0
        self.size += 1
        while index & 1:
            node = _sha256(b"\1" + self._peaks.pop() + node).digest()
            index >>= 1
            height += 1
            if not height % TILE_BITS:
                self.tiles.append((height // TILE_BITS, index, node))
        self._peaks.append(node)

    def root(self) -> bytes:
        """The tree head (RFC 6962 MTH) of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            node = _sha256(b"\1" + peak + node).digest()
        return node


def range_root(tiles: Tiles, start: int, end: int) -> bytes:
    """MTH of the leaves `start` (inclusive) to `end` (exclusive); `start` must be a multiple of the range's size
    rounded up to a power of two, as it is everywhere in RFC 6962's recursions."""
    size = end - start
    if size == 0:
        return EMPTY_ROOT
    if size == 1:
        return tiles(0, start, 1)[0]
    if size & (size - 1):
        cut = start + _split(size)
        return node_hash(range_root(tiles, start, cut), range_root(tiles, cut, end))
    level = (size.bit_length() - 1) // TILE_BITS
    width = 1 << (level * TILE_BITS)
    row = list(tiles(level, start // width, size // width))
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def peaks(tiles: Tiles, size: int) -> list[bytes]:
    """The complete subtrees of a tree of `size` leaves: what a Frontier starts from."""
    found, start = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            found.append(range_root(tiles, start, start + (1 << bit)))
            start += 1 << bit
    return found


def inclusion_proof(tiles: Tiles, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 §2.1.1, for a leaf index from 0."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        cut = start + _split(end - start)
        if index < cut:
            path.append(range_root(tiles, cut, end))
            end = cut
        else:
            path.append(range_root(tiles, start, cut))
            start = cut
    return path[::-1]


def consistency_proof(tiles: Tiles, old: int, size: int) -> list[bytes]:
    """PROOF(old, D[size]) of RFC 6962 §2.1.2. Empty when the old tree is empty or the whole tree."""
    if not 0 <= old <= size:
        raise ValueError(f"no tree of {old} leaves in one of {size}")
    if old in (0, size):
        return []
    path: list[bytes] = []
    start, end, complete = 0, size, True
    while old != end:
        cut = start + _split(end - start)
        if old <= cut:
            path.append(range_root(tiles, cut, end))
            end = cut
        else:
            path.append(range_root(tiles, start, cut))
            start = cut
            complete = False
    if not complete:
        path.append(range_root(tiles, start, end))
    return path[::-1]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
