"""Power lost while the store takes all it can: QEMU is killed at random moments, its disk in `cache=none`.

`test_power_loss.py` does it to the whole system; this machine is only the store, and loses its power more often.

NULLBOX_POWER_SEED and NULLBOX_POWER_CUTS replay or extend a campaign.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from power_cut import Victim, missing_tools, moments

BUILD = Path(__file__).resolve().parents[2] / "build"
CUTS, ALL_CUTS = 3, 50

needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"needs e2fsprogs: {', '.join(missing_tools())}")


def cut_often(folder: Path, cuts: int) -> None:
    seed = int(os.environ.get("NULLBOX_POWER_SEED") or random.SystemRandom().randrange(10**9))
    cuts = int(os.environ.get("NULLBOX_POWER_CUTS") or cuts)
    print(f"NULLBOX_POWER_SEED={seed} NULLBOX_POWER_CUTS={cuts}")
    victim = Victim(folder, BUILD / "bzImage", BUILD / "bare.squashfs", seed)
    seconds = moments(seed)
    sizes = [0]
    for life in range(cuts):
        heard = victim.live(life, seconds)
        sizes.append(victim.check())
        print(f"cut {life + 1}: {heard} acknowledged, {sizes[-1]} in the log, {len(victim.promised)} promised so far")
        assert sizes[-1] >= max(victim.promised)
        assert victim.opened[-1] == sizes[-2], "the machine's own recovery found what was on the disk"


@needs_tools
def test_every_acknowledged_write_survives_the_loss_of_power(tmp_path: Path) -> None:
    cut_often(tmp_path, CUTS)


@needs_tools
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_acknowledged_write_survives_fifty_losses_of_power(tmp_path: Path) -> None:
    cut_often(tmp_path, ALL_CUTS)
