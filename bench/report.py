"""`build/bench.json` as a Markdown table and one SVG chart per area.

The table is pure text. A chart shows each target as the share of its bound that was used: 1 is the bound, and what is
above misses; the bar is the median, the whisker the spread over the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MET, MISSED = "#2f7d5b", "#b3403a"


def markdown(results: Mapping[str, Any]) -> str:
    """The whole document: the machine, then a table per area, misses in bold."""
    lines = ["# Benchmarks", "", *(f"- {name}: {value}" for name, value in results["machine"].items()), ""]
    for area, found in results["areas"].items():
        lines += [f"## {area}", "", f"![{area}](bench-{area}.svg)", ""]
        lines += ["| figure | median | lowest | highest | must be | |", "| --- | ---: | ---: | ---: | --- | --- |"]
        for target in found["targets"]:
            name, verdict = f"`{target['name']}`", "met" if target["met"] else "**missed**"
            numbers = " | ".join(_number(target[part], target["unit"]) for part in ("median", "low", "high"))
            lines.append(
                f"| {name} | {numbers} | {target['relation']} {target['bound']:g} {target['unit']} | {verdict} |"
            )
        lines += [f"| `{name}` | {value:.4g} | | | | |" for name, value in found["others"].items()]
        if profile := found.get("profile"):
            lines += ["", f"What misses: [where the time goes]({profile})."]
        lines.append("")
    return "\n".join(lines)


def _number(value: float, unit: str) -> str:
    return "not measured" if value != value else f"{value:.4g} {unit}".strip()


def used(target: Mapping[str, Any], part: str) -> float:
    """The share of the bound that a target uses up: above 1 it misses, whichever way its relation goes."""
    value, bound = target[part], target["bound"]
    if target["relation"] == "<=":
        return float(value / bound)
    return float(bound / value) if value else float("inf")


def chart(area: str, targets: list[dict[str, Any]], path: Path) -> None:
    """Draw one area with matplotlib, deterministically: the same figures give the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nullbox"
    from matplotlib import pyplot

    targets = [target for target in targets if target["median"] == target["median"]]
    middle = [used(target, "median") for target in targets]
    ends = [sorted((used(target, "low"), used(target, "high"))) for target in targets]
    errors = [
        [m - low for m, (low, _) in zip(middle, ends, strict=True)],
        [high - m for m, (_, high) in zip(middle, ends, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(7.5, 0.9 + 0.42 * len(targets)), layout="constrained")
    axes.barh(
        [target["name"] for target in targets],
        middle,
        xerr=errors,
        color=[MET if target["met"] else MISSED for target in targets],
        ecolor="#555555",
        capsize=2,
    )
    axes.axvline(1.0, color="#222222", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("share of the bound used (1 = the bound; more misses it)")
    axes.set_title(area)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def write(results: Mapping[str, Any], directory: Path) -> Path:
    """Write `bench.md` and the charts into the folder; returns the Markdown file."""
    for area, found in results["areas"].items():
        chart(area, found["targets"], directory / f"bench-{area}.svg")
    path = directory / "bench.md"
    path.write_text(markdown(results))
    return path
