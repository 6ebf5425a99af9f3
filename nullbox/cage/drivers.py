"""Which plan an agent gets: of a microVM (`krun`), or of a process (`process`, for development). Effects: reads facts.

There is no default and no way from one to the other: who configures a driver gets that driver or an error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nullbox.cage import facts
from nullbox.cage.cgroup import CgroupTree
from nullbox.cage.manifest import Manifest
from nullbox.cage.plan import Site, plan
from nullbox.cage.process_plan import ProcessFacts, plan_process
from nullbox.cage.vmplan import Link, VmPlan
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout

KRUN, PROCESS = "krun", "process"

GUEST_LIBRARY = Path(__file__).resolve().parents[1] / "guest"
"""The folder of `nullbox_agent`."""


def cgroups_of(driver: str) -> CgroupTree:
    """The cgroups of the driver's agents. Only processes may lack controllers, since nothing depends on them there."""
    return CgroupTree(partial=driver == PROCESS)


def make_plan(
    driver: str, manifest: Manifest, cgroups: CgroupTree, layout: Layout, site: Site, link: Link | None
) -> VmPlan:
    """The plan of one agent.

    Raises:
        NullBoxError: as `plan` and `plan_process`; `invalid`, no such driver.
    """
    if driver == KRUN:
        return plan(manifest, facts.gather(manifest.name, cgroups, layout.library_dir, layout.data), site, link)
    if driver == PROCESS:
        return plan_process(manifest, _process_facts(manifest.name, cgroups), site, link)
    raise NullBoxError(ErrorCode.INVALID, f"driver is {driver!r}; allowed: {KRUN}, {PROCESS}")


def _process_facts(agent: str, cgroups: CgroupTree) -> ProcessFacts:
    return ProcessFacts(
        cpus=os.cpu_count() or 1,
        memory_mib=facts.total_memory_mib(Path("/proc/meminfo").read_text()),
        committed_mib=facts.committed_mib(cgroups, agent),
        python=str(Path(sys.executable).resolve()),
        python_prefix=str(Path(sys.base_prefix).resolve()),
        library=str(GUEST_LIBRARY),
    )
