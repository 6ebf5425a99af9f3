"""dm-verity: an image with one wrong bit anywhere is never read as if nothing had happened."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from bare_boot import corrupt, places, read_root

BUILD = Path(__file__).resolve().parents[2] / "build"
KERNEL, IMAGE = BUILD / "bzImage", BUILD / "root.squashfs"
SEED = int(os.environ.get("NULLBOX_CORRUPTION_SEED") or secrets.randbelow(1 << 32))


def test_an_image_as_it_was_built_is_read_to_its_end(tmp_path: Path) -> None:
    outcome = read_root(KERNEL, IMAGE, IMAGE, tmp_path)
    assert not outcome.stopped, outcome.console
    assert outcome.read is not None, outcome.console
    assert 0 < outcome.read < IMAGE.stat().st_size, "the hash tree is not part of the device"
    assert "verity: sha256 using implementation" in outcome.console or "device-mapper" in outcome.console


def stops(bit: int, scratch: Path) -> None:
    damaged = scratch / "damaged.squashfs"
    corrupt(IMAGE, damaged, bit)
    outcome = read_root(KERNEL, damaged, IMAGE, scratch)
    assert outcome.stopped, f"bit {bit} (seed {SEED}): {outcome.console[-2000:]}"
    assert outcome.read is None, f"bit {bit} (seed {SEED}) was noticed, and the system ran on"


@pytest.mark.parametrize("number", range(2))
def test_a_flipped_bit_stops_the_machine(number: int, tmp_path: Path) -> None:
    """One in the files' data, one in the hash tree."""
    chosen = places(IMAGE, 20, SEED)
    stops(chosen[0] if number == 0 else max(chosen), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_a_flipped_bit_in_each_of_twenty_places_stops_the_machine(number: int, tmp_path: Path) -> None:
    stops(places(IMAGE, 20, SEED)[number], tmp_path)
