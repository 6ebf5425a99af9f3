"""The hash tree: its shape by the kernel's documentation, its bytes by veritysetup."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image import verity
from image.verity import BLOCK, PER_BLOCK


def blocks(count: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") * (BLOCK // 4) for number in range(count))


def test_one_block_is_its_own_root() -> None:
    hashes, root = verity.tree(blocks(1))
    assert (hashes, root) == (b"", hashlib.sha256(blocks(1)).hexdigest())


def test_one_hash_block_covers_up_to_128_blocks() -> None:
    hashes, root = verity.tree(blocks(3))
    digests = [hashlib.sha256(blocks(3)[n * BLOCK :][:BLOCK]).digest() for n in range(3)]
    assert hashes == b"".join(digests).ljust(BLOCK, b"\0")
    assert root == hashlib.sha256(hashes).hexdigest()


def test_the_top_comes_first() -> None:
    hashes, root = verity.tree(blocks(PER_BLOCK + 1))
    top, first, second = (hashes[n * BLOCK :][:BLOCK] for n in range(3))
    assert len(hashes) == 3 * BLOCK
    assert root == hashlib.sha256(top).hexdigest()
    assert top[:64] == hashlib.sha256(first).digest() + hashlib.sha256(second).digest()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK + 1])
def test_only_whole_blocks_have_a_tree(size: int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        verity.tree(bytes(size))


@given(st.integers(2, 300), st.data())
def test_any_flipped_bit_gives_another_root_hash(count: int, data: st.DataObject) -> None:
    content = bytearray(blocks(count))
    _, root = verity.tree(bytes(content))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    assert verity.tree(bytes(content))[1] != root


@pytest.mark.parametrize("count", [2, 3, PER_BLOCK, PER_BLOCK + 1, PER_BLOCK**2 + 1])
def test_veritysetup_makes_the_same_tree(count: int, tmp_path: Path) -> None:
    image, hashes = tmp_path / "image", tmp_path / "hashes"
    image.write_bytes(blocks(count))
    argv = ["veritysetup", "format", "--no-superblock", "--salt=-", "--hash=sha256", str(image), str(hashes)]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    ours, root = verity.tree(blocks(count))
    found = re.search(r"Root hash:\s+(\w+)", shown)
    assert found
    assert found[1] == root
    assert hashes.read_bytes() == ours


def test_sealing_appends_the_tree_to_whole_blocks(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(blocks(2) + b"rest")
    sealed = verity.seal(image)
    whole = blocks(2) + b"rest".ljust(BLOCK, b"\0")
    hashes, root = verity.tree(whole)
    assert image.read_bytes() == whole + hashes
    assert (sealed.data_blocks, sealed.root_hash, sealed.on_corruption) == (3, root, "panic")
