"""`make bench` as a whole: whatever it finds, it leaves its figures, its table and a chart of each area."""

from __future__ import annotations

import json

import pytest
from doc_commands import ROOT, Shell

from bench.__main__ import AREAS
from bench.profiles import EMULATED

BUILD = ROOT / "build"


@pytest.mark.slow
@pytest.mark.boot
@pytest.mark.timeout(1200)
def test_a_quick_run_leaves_figures_table_charts_and_profiles() -> None:
    (BUILD / "bench.json").unlink(missing_ok=True)
    with Shell(ROOT, {}) as shell:
        output, _ = shell.run("make bench QUICK=1", 900)  # what misses on a busy machine is no failure of the command
    results = json.loads((BUILD / "bench.json").read_text())
    assert [name for name in AREAS if name not in results["areas"]] == [], output[-3000:]
    table = (BUILD / "bench.md").read_text()
    for area, found in results["areas"].items():
        assert f"(bench-{area}.svg)" in table
        assert (BUILD / f"bench-{area}.svg").read_text().rstrip().endswith("</svg>")
        missed = [target["name"] for target in found["targets"] if not target["met"]]
        assert {f"{area}.{name}" for name in missed} <= set(results["missed"]), area
        if missed and area not in EMULATED:
            assert f"]({found['profile']})" in table
            assert "</svg>" in (BUILD / found["profile"]).read_text()
