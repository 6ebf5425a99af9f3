"""A planned VM as a value: what the cage actor decides and the runner does.

Apart from the function that makes plans, because the runner imports this and nothing of the manifest: its memory counts
once per agent.
"""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.cage.resources import Limits
from pykrun.recipes import Call


@dataclass(frozen=True, slots=True)
class Link:
    """The agent's network device: TAP of the host, and addresses (dotted quads) of the link's two ends."""

    tap: str
    mac: str
    guest_address: str
    gateway_address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Share:
    """A host folder in the guest: a virtio-fs device.

    host: on the machine. jail: the same folder as the VMM sees it. guest: where the launcher mounts it, None for the
    root.
    """

    tag: str
    host: str
    jail: str
    guest: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Bind:
    """One folder that the VMM can reach: where it is on the host, where in the jail, and what may be done there.

    base, below: the folder is `below` the folder `base`. Agents may write below their grants, so `below` is resolved
    without following a link; `base` is the system's own path. use: `read` files; `write` them; `connect` to sockets in
    it; `listen` on a socket to be made in it.
    """

    base: str
    target: str
    use: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class JailSpec:
    """What the VMM process may still touch once it is confined. See docs/design/jail.md.

    uid: its user, and its only group but for `groups`. root: an empty folder of the host, on which the process makes
    the root of its mount namespace. devices: device nodes that it gets a copy of, for its user alone.
    """

    uid: int
    root: str
    groups: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    devices: tuple[str, ...] = ("/dev/kvm", "/dev/net/tun")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What the development driver makes instead of a VM: a process in a sandbox (`cage.sandbox`).

    argv, version, environment: the agent's, inside the sandbox. system: folders and files of this host that the
    sandbox shows read-only at their own path. library: host folder with the agents' client library. ctx_socket: the
    agent's channel to ctxgraph. control: the socket that the sandbox's launcher serves. uid, gid:
    of the agent, never 0.
    """

    argv: tuple[str, ...]
    version: str
    environment: tuple[tuple[str, str], ...]
    system: tuple[str, ...]
    library: str
    ctx_socket: str
    control: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class VmPlan:
    """All that the runner does. calls: libkrun functions with their arguments after the context.

    process: instead of a VM, for the development driver; there are no calls then.
    """

    agent: str
    calls: tuple[Call, ...]
    shares: tuple[Share, ...]
    link: Link | None
    limits: Limits
    cgroup: str
    console: str
    failure: str
    library: str | None
    jail: JailSpec
    process: ProcessSpec | None = None
