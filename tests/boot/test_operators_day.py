"""An operator's day in a booted machine. (It ends in test_zz_power.)"""

from __future__ import annotations

from pathlib import Path

import operators_day
import pytest
from operator_view import Machine


@pytest.mark.usefixtures("still")
def test_an_operators_day(machine: Machine, tmp_path: Path) -> None:
    operators_day.spend(machine, tmp_path)
