"""Manifest and host facts → `VmPlan`: what will be done to start one agent's VM, as data. Pure.

A plan names every libkrun call in order with its arguments, the cgroup with its limits, the shares, the network link
and the files that the VMM opens. It goes to the runner process as JSON (`planfile.py`), can be shown to a person, and
two plans can be compared.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nullbox.cage import guestconfig, resources
from nullbox.cage.grants import DATA, volume
from nullbox.cage.manifest import Manifest
from nullbox.cage.users import DATA_GROUP
from nullbox.cage.vmplan import Bind, JailSpec, Link, Share, VmPlan
from nullbox.protocols.errors import ErrorCode, NullBoxError
from pykrun import recipes

CTX_PORT = 9100
"""vsock port on which the guest reaches its ctxgraph channel at CID 2."""

CONTROL_PORT = 9101
"""vsock port on which the launcher in the guest listens for the host."""

GUEST_PYTHON = "/usr/bin/python3"
GUEST_LAUNCHER = "/usr/lib/nullbox/launcher.py"
GUEST_LIBRARY = "/usr/lib/nullbox"
AGENT_MOUNT = "/agent"
AGENT_TAG = "agent"
INTERFACE = "eth0"

GUEST_ENVIRONMENT = ("PATH=/usr/bin:/bin", "HOME=/tmp")
"""Of the launcher. The agent's own is made by the launcher."""

EMULATED_ENVIRONMENT = ("nohz=off", "highres=off")
"""For guests on an emulated processor; libkrun puts the environment on the guest kernel's command line, which is where
these take effect. Emulated SVM now and then loses an interrupt, and a guest that idles without a tick then sleeps until
somebody else wakes it, perhaps for minutes. A periodic tick costs a quarter of an emulated processor, and wakes it."""

INTERRUPTS = 11
"""Interrupt lines that libkrun has for devices on x86-64 (5 to 15)."""

FIXED_DEVICES = ("balloon", "rng", "console", "root", "agent", "vsock", "net")
MAX_GRANTS = INTERRUPTS - len(FIXED_DEVICES)
"""Filesystem grants of one agent: each is a device of its own."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a plan has to know about the machine.

    cpus: online CPUs. memory_mib: all memory. committed_mib: promised to the other VMs.
    functions: what libkrun exports (`pykrun.Library.functions`).
    library: path of libkrun for the runner, None to search. emulated: the processor is QEMU's own.
    """

    cpus: int
    memory_mib: int
    committed_mib: int
    functions: Collection[str]
    library: str | None = None
    emulated: bool = False


JAIL_GUEST, JAIL_AGENT, JAIL_GRANTS, JAIL_CTX, JAIL_ROOM = "/guest", "/agent", "/grants", "/ctx", "/room"
"""Where the folders of a VM are in the mount namespace of its VMM."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the files of one agent's VM are, on the host; absolute paths.

    uid: the user of the VMM. data: the tree behind `/data`. ctx_socket: the agent's ctxgraph socket; the VMM reaches
    the folder that it is in, and nothing else should be there. control: socket that libkrun will make, in a folder that
    the VMM may make sockets in. console: FIFO that the VMM writes its guest's output to. failure: file in which the
    runner says why there is no VM. jail: an empty folder, for the root of the VMM's mount namespace. cgroup: directory
    of the VM's own cgroup.
    """

    uid: int
    guest_root: str
    agent_folder: str
    data: str
    ctx_socket: str
    control: str
    console: str
    failure: str
    jail: str
    cgroup: str


def plan(manifest: Manifest, facts: HostFacts, site: Site, link: Link | None) -> VmPlan:
    """Plan the VM of an agent. link None: a guest without a network device.

    Raises:
        NullBoxError: `unavailable` (memory, credentials, what this libkrun cannot do) or `invalid` (too many
            grants, too long a command line).
    """
    check_available(manifest)
    limits = resources.limits(
        manifest.max_cpu_percent, manifest.max_memory_mb, cpus=facts.cpus, written_volumes=written_volumes(manifest)
    )
    resources.check_memory(limits, total_mib=facts.memory_mib, committed_mib=facts.committed_mib)
    shares = all_shares(manifest, site)
    try:
        calls = _calls(manifest, facts, site, link, limits, shares)
    except recipes.Unsupported as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, str(error)) from error
    except ValueError as error:
        raise NullBoxError(ErrorCode.INVALID, str(error)) from error
    return VmPlan(
        agent=manifest.name,
        calls=tuple(calls),
        shares=shares,
        link=link,
        limits=limits,
        cgroup=site.cgroup,
        console=site.console,
        failure=site.failure,
        library=facts.library,
        jail=_jail(manifest, site, shares, link),
    )


def written_volumes(manifest: Manifest) -> int:
    """How many volumes the agent may write to."""
    return len({volume(path) for path in manifest.write})


def check_available(manifest: Manifest) -> None:
    """Fail closed: an agent that asks for a secret must not run without it."""
    if manifest.credential_refs:
        names = ", ".join(manifest.credential_refs)
        raise NullBoxError(
            ErrorCode.UNAVAILABLE,
            f"{manifest.name} asks for credentials ({names}), and this system has no credential store yet; "
            "remove credential_refs from its manifest to run it without them",
            {"credential_refs": list(manifest.credential_refs)},
        )
    grants = len(manifest.read) + len(manifest.write)
    if grants > MAX_GRANTS:
        raise NullBoxError(
            ErrorCode.INVALID,
            f"{manifest.name} has {grants} filesystem grants, and a VM has room for {MAX_GRANTS}; "
            "grant a common parent folder instead",
        )


def all_shares(manifest: Manifest, site: Site) -> tuple[Share, ...]:
    """What the agent sees of the host: its root, its folder, its grants."""
    grants = [(path, True) for path in manifest.read] + [(path, False) for path in manifest.write]
    return (
        Share(recipes.ROOT_TAG, site.guest_root, JAIL_GUEST, None, read_only=True),
        Share(AGENT_TAG, site.agent_folder, JAIL_AGENT, AGENT_MOUNT, read_only=True),
        *(
            Share(f"data{number}", site.data + path.removeprefix(DATA), f"{JAIL_GRANTS}/{number}", path, read_only)
            for number, (path, read_only) in enumerate(sorted(grants))
        ),
    )


def _jail(manifest: Manifest, site: Site, shares: tuple[Share, ...], link: Link | None) -> JailSpec:
    """The folders of the VM and its devices, and nothing else of the machine."""
    binds = [
        Bind(site.data, share.jail, "read" if share.read_only else "write", share.guest.removeprefix(f"{DATA}/"))
        if share.guest is not None and share.guest.startswith(f"{DATA}/")
        else Bind(share.host, share.jail, "read")
        for share in shares
    ]
    binds.append(Bind(posixpath.dirname(site.ctx_socket), JAIL_CTX, "connect"))
    binds.append(Bind(posixpath.dirname(site.control), JAIL_ROOM, "listen"))
    return JailSpec(
        uid=site.uid,
        root=site.jail,
        groups=(DATA_GROUP,) if manifest.read or manifest.write else (),
        binds=tuple(binds),
        devices=("/dev/kvm", "/dev/net/tun") if link is not None else ("/dev/kvm",),
    )


def _calls(
    manifest: Manifest,
    facts: HostFacts,
    site: Site,
    link: Link | None,
    limits: resources.Limits,
    shares: tuple[Share, ...],
) -> list[recipes.Call]:
    known = facts.functions
    root, *others = shares
    calls: list[recipes.Call] = [("krun_set_vm_config", (limits.vcpus, limits.ram_mib))]
    calls += recipes.root(known, root.jail, read_only=root.read_only)
    for share in others:
        calls += recipes.share(known, share.tag, share.jail, read_only=share.read_only)
    calls += recipes.vsock(known, tsi=0)
    calls.append(("krun_add_vsock_port2", (CTX_PORT, _inside(JAIL_CTX, site.ctx_socket), False)))
    calls.append(("krun_add_vsock_port2", (CONTROL_PORT, _inside(JAIL_ROOM, site.control), True)))
    if link is not None:
        calls.append(("krun_add_net_tap", (link.tap, link.mac, 0, 0)))
    calls += recipes.console(known, 0, 1, 2)
    word = guestconfig.encode(guest_config(manifest, link, shares))
    arguments = ("-I", "-S", GUEST_LAUNCHER, word)
    environment = GUEST_ENVIRONMENT + (EMULATED_ENVIRONMENT if facts.emulated else ())
    calls.append(("krun_set_exec", (GUEST_PYTHON, arguments, environment)))
    return calls


def _inside(folder: str, path: str) -> str:
    """A file of the host as the VMM sees it."""
    return posixpath.join(folder, posixpath.basename(path))


def guest_config(manifest: Manifest, link: Link | None, shares: tuple[Share, ...]) -> dict[str, Any]:
    """What the launcher is told: the agent's command and identity, what to mount, how to set the network up."""
    program, *arguments = manifest.entrypoint
    command = [f"{AGENT_MOUNT}/{program}", *arguments]
    if manifest.runtime == "python":
        command.insert(0, GUEST_PYTHON)
    config: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "argv": command,
        "mounts": [[share.tag, share.guest, share.read_only] for share in shares if share.guest is not None],
    }
    if manifest.health_check is not None:
        check = manifest.health_check
        config["health"] = [check.port, check.path, check.interval_secs, check.max_failures]
    if link is not None:
        config["net"] = [INTERFACE, link.guest_address, link.prefix, link.gateway_address]
    return config
