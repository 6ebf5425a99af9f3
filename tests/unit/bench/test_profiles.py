"""Which areas get a profile, and what becomes of one that cannot be recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import profiles


def area(*met: bool) -> dict[str, Any]:
    return {"targets": [{"name": "x", "met": each} for each in met]}


def test_what_misses_is_profiled_where_its_processes_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(profiles, "record", lambda area, directory, seconds: f"{area} for {seconds}")
    areas = {"actors": area(True, True), "egress": area(True, False), "boot": area(False)}
    bench.add_profiles(areas, tmp_path, 8)
    assert {name: found.get("profile") for name, found in areas.items()} == {
        "actors": None,
        "egress": "egress for 8",
        "boot": None,
    }


def test_without_py_spy_there_is_no_profile_and_no_old_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profiles, "PY_SPY", tmp_path / "none")
    (tmp_path / "profile-egress.svg").write_text("of another day")
    assert profiles.record("egress", tmp_path, 1) is None
    assert not list(tmp_path.iterdir())
    assert "no profile of egress" in capsys.readouterr().err
