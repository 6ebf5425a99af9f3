"""Manifest and host → the plan of an agent as a process of this host: the development driver. Pure.

There is no VM: the agent shares the host's kernel, so this is **no isolation boundary**. It is for writing agents on a
machine that cannot run VMs, and is never chosen unless somebody asked for it by name. What the manifest grants is set
up as for a VM: the same folders at the same paths, one network device behind the same rules, the same channel to
ctxgraph, the same limits where the host's cgroups can set them.
"""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.cage import resources
from nullbox.cage.manifest import Manifest
from nullbox.cage.plan import AGENT_MOUNT, Site, all_shares, check_available, written_volumes
from nullbox.cage.vmplan import JailSpec, Link, ProcessSpec, VmPlan

PEER_SUFFIX = "p"
"""The agent's end of its veth pair is named as the host's end and this, until it is moved and becomes eth0."""

LIBRARY_MOUNT = "/nullbox"
CTX_SOCKET = "/run/ctx.sock"
"""Where the sandbox shows the agent's channel; `nullbox_agent` finds it through NULLBOX_CTX_SOCKET."""

SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/localtime")
"""What of the host an agent may read, where it exists: programs and libraries, no configuration, no home."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What the plan has to know about this host.

    cpus, memory_mib, committed_mib: as in `HostFacts`. python: the interpreter's real path; python_prefix: the folder
    that its installation lies in. library: the folder of `nullbox_agent`.
    """

    cpus: int
    memory_mib: int
    committed_mib: int
    python: str
    python_prefix: str
    library: str


def plan_process(manifest: Manifest, facts: ProcessFacts, site: Site, link: Link | None) -> VmPlan:
    """Plan the sandbox of an agent. link None: only a loopback device.

    Raises:
        NullBoxError: `unavailable`, memory or credentials; `invalid`, too many grants.
    """
    check_available(manifest)
    limits = resources.limits(
        manifest.max_cpu_percent, manifest.max_memory_mb, cpus=facts.cpus, written_volumes=written_volumes(manifest)
    )
    resources.check_memory(limits, total_mib=facts.memory_mib, committed_mib=facts.committed_mib)
    shares = tuple(share for share in all_shares(manifest, site) if share.guest is not None)
    return VmPlan(
        agent=manifest.name,
        calls=(),
        shares=shares,
        link=link,
        limits=limits,
        cgroup=site.cgroup,
        console=site.console,
        failure=site.failure,
        library=None,
        jail=JailSpec(uid=site.uid, root=site.jail, devices=()),
        process=ProcessSpec(
            argv=command(manifest, facts),
            version=manifest.version,
            environment=environment(facts),
            system=system_paths(facts.python_prefix),
            library=facts.library,
            ctx_socket=site.ctx_socket,
            control=site.control,
            uid=site.uid,
            gid=site.uid,
        ),
    )


def command(manifest: Manifest, facts: ProcessFacts) -> tuple[str, ...]:
    """The agent's argv inside the sandbox."""
    program, *arguments = manifest.entrypoint
    words = [f"{AGENT_MOUNT}/{program}", *arguments]
    return tuple([facts.python, *words] if manifest.runtime == "python" else words)


def environment(facts: ProcessFacts) -> tuple[tuple[str, str], ...]:
    """What the agent's environment says otherwise than in a VM."""
    folder = facts.python.rpartition("/")[0]
    path = "/usr/bin:/bin" if folder in ("/usr/bin", "/bin") else f"{folder}:/usr/bin:/bin"
    return (("NULLBOX_CTX_SOCKET", CTX_SOCKET), ("PATH", path), ("PYTHONPATH", LIBRARY_MOUNT))


def system_paths(python_prefix: str) -> tuple[str, ...]:
    """`SYSTEM_PATHS`, and the interpreter's installation where it lies elsewhere."""
    covered = any(python_prefix == path or python_prefix.startswith(path + "/") for path in SYSTEM_PATHS)
    return SYSTEM_PATHS if covered else (*SYSTEM_PATHS, python_prefix)
