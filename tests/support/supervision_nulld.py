"""Runs `nulld` with harmless children in place of the services: `python supervision_nulld.py RUN STATE SYSTEM`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from types import MappingProxyType

from nullbox.supervision import nulld, tree

WORKER = "supervision_actors.Worker"


def main() -> None:
    tree.SERVICES = MappingProxyType({n: replace(s, start=WORKER) for n, s in tree.SERVICES.items()})
    tree.CAGE_ACTOR = WORKER
    if os.environ.get("SUPERVISION_TEST_LAUNCHER") == "fails":
        launcher = nulld.Launcher

        def fail(self: object, message: object) -> None:
            raise RuntimeError("as the test asked")

        launcher._take = fail  # type: ignore[method-assign]
    run, state, system = sys.argv[1:]
    nulld.main(["--run", run, "--state", state, "--system", system])


if __name__ == "__main__":
    main()
