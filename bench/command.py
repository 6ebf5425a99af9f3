"""What the command lines of all benchmarks share: the options, the table at the end, the exit status (edge)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.figures import Found, Must, document, judge, rounds

ROUNDS, QUICK_ROUNDS = 7, 3


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """`--quick`, `--rounds` and `--json`; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and shorter times")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in which the sides take turns")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser


def finish(must: Must, found: Found, path: Path | None) -> int:
    """Print what was found, write it to the file if there is one; returns the exit status: 1 if a target is missed."""
    for name, value in found.items():
        if name not in must:
            print(f"{name:28} {sum(rounds(value)) / len(rounds(value)):12.3f}")
    verdicts = judge(must, found)
    print("\n".join(verdict.line() for verdict in verdicts))
    if path is not None:
        path.write_text(json.dumps(document(must, found), indent=1) + "\n")
    return 0 if all(verdict.met for verdict in verdicts) else 1
