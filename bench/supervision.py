"""Supervision: the pure core's speed, its growth with the children, and the time from an actor's death to a successor.

    python -m bench.supervision [--quick] [--rounds 7] [--json FILE]

`decide` sees a crash, the end of the backoff and the readiness of the successor, in turn over all children. The second
part is real processes: a child of a supervisor is killed with SIGKILL, and the clock stops when the supervisor shows
its successor running, which has said that it is ready by then; there is no backoff.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from supervision_core import events_per_second
from supervision_system import WORKER, Tree

from bench.command import argument_parser, finish
from nullbox.supervision.backoff import NO_BACKOFF
from nullbox.supervision.spec import ChildSpec, OnLimit

MUST = {
    "decide_per_s": (">=", 50_000.0, "/s"),
    "decide_growth": ("<=", 1.5, ""),
    "replacement_ms": ("<=", 40.0, "ms"),
}
KILLS = 11


def replacements(rounds: int) -> list[float]:
    """Milliseconds from the death of a child to its successor running: the median of some kills, for every round."""
    specs = [ChildSpec(name, WORKER, backoff=NO_BACKOFF, on_limit=OnLimit.FAIL) for name in ("a", "b")]
    medians = []
    with Tree(specs, max_restarts=1000) as tree:
        incarnation = tree.all_running()["a"]["incarnation"]
        for _ in range(rounds):
            times = []
            for _ in range(KILLS):
                tree.kill("a")
                began = time.perf_counter()
                incarnation += 1
                tree.until(lambda n, i=incarnation: n["a"]["state"] == "running" and n["a"]["incarnation"] == i)
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times) * 1000)
    return medians


def main() -> int:
    options = argument_parser(__doc__).parse_args()
    sides = [(events_per_second(10), events_per_second(1000)) for _ in range(options.rounds)]
    found = {
        "decide_10_children_per_s": [few for few, _ in sides],
        "decide_per_s": [many for _, many in sides],
        "decide_growth": [few / many for few, many in sides],
        "replacement_ms": replacements(options.rounds),
    }
    return finish(MUST, found, options.json)


if __name__ == "__main__":
    sys.exit(main())
