"""Try every way out of this VM, and report which were shut: `nullctl ctx latest hostile.report`.

Each attempt is a function that raises when it is denied, and returns what it got when it is not. All addresses are
reserved for documentation (RFC 5737) or local by definition, so that even a success would harm nobody.
The agent ends with code 0 if everything was denied, and with 1 if anything was not.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nullbox_agent import Connection, CtxError, ctx, log

REPORT = "hostile.report"
TIMEOUT = 3.0
CTX_PORT = 9100
HOST_CID = 2
SOMEBODY = "pulse"
"""Another agent, whose name and keys this one tries to use."""

Attempt = Callable[[], Any]


class Denied(Exception):
    """For what is not an error by itself, and is a refusal all the same."""


# --- the network: nothing is granted ------------------------------------------------------------------------


def connect(address: str, port: int) -> Attempt:
    def attempt() -> str:
        with socket.create_connection((address, port), TIMEOUT):
            return f"connected to {address}:{port}"

    return attempt


def resolve() -> str:
    return str(socket.getaddrinfo("example.com", 443))


def ask_foreign_resolver() -> str:
    """A DNS question to somebody else than the gateway."""
    question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\7example\3com\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(TIMEOUT)
        udp.sendto(question, ("192.0.2.53", 53))
        return repr(udp.recv(512))


def connect_ipv6() -> str:
    with socket.create_connection(("2001:db8::1", 443), TIMEOUT):
        return "connected by IPv6"


def ping() -> str:
    """ICMP echo."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(TIMEOUT)
        raw.sendto(b"\x08\x00\xf7\xfe\x00\x00\x00\x01", ("192.0.2.1", 0))
        return echoed(raw.recv(512))


def echoed(packet: bytes) -> str:
    """An answer to an echo request (RFC 792). Raises Denied if the packet is the error that a firewall answers with."""
    kind = packet[(packet[0] & 15) * 4]
    if kind == 3:
        raise Denied("unreachable, says the gateway")
    return repr(packet)


# --- ctxgraph: only hostile. is granted ---------------------------------------------------------------------


def asked(method: str, **params: Any) -> Attempt:
    return lambda: ctx.call(method, params)


def speak_for(name: str) -> Attempt:
    """Write with a name in the message; an entry under one's own name is no success."""

    def attempt() -> str:
        entry = ctx.call("write", {"key": "hostile.name", "value": 1, "agent_id": name})
        return str(ctx.call("read", {"hash": entry["hash"]}))

    return attempt


def read_anything() -> Any:
    """By a query for everything, which shows only what is granted."""
    keys = {entry["key"] for entry in ctx.query("", limit=1000)}
    foreign = sorted(key for key in keys if not key.startswith("hostile."))
    if not foreign:
        raise Denied("only what is granted is shown")
    return foreign


def garble() -> str:
    """What is no message must cost this connection at most: the next one is served."""
    with contextlib.suppress(OSError, CtxError):
        Connection(None, TIMEOUT).request("write\0", {"key": "\0"})
    return str(ctx.call("write", {"key": "hostile.big", "value": "x" * 300_000}))


# --- the host and other VMs, by vsock -----------------------------------------------------------------------


def vsock(cid: int, port: int) -> Attempt:
    def attempt() -> str:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as stream:
            stream.settimeout(TIMEOUT)
            stream.connect((cid, port))
            return f"connected to port {port} of CID {cid}"

    return attempt


# --- files and the kernel -----------------------------------------------------------------------------------


def write_file(path: str) -> Attempt:
    def attempt() -> str:
        with open(path, "wb") as file:
            file.write(b"x")
        return f"wrote {path}"

    return attempt


def read_host_files() -> Any:
    """What lies above the shared root, through the file system that the host serves."""
    above, root = ({path.name for path in Path(place).iterdir()} for place in ("/../..", "/"))
    if above == root:
        raise Denied("the root is the root")
    return sorted(above)


def open_file(path: str) -> Attempt:
    def attempt() -> str:
        with open(path, "rb") as file:
            return repr(file.read(16))

    return attempt


ATTEMPTS: tuple[tuple[str, Attempt], ...] = (
    ("connect to an address outside", connect("192.0.2.1", 443)),
    ("connect to another one by HTTP", connect("198.51.100.1", 80)),
    ("connect to the metadata service of a cloud", connect("169.254.169.254", 80)),
    ("connect to the first agent's VM", connect("10.90.0.2", 22)),
    ("connect to a port of the gateway", connect("10.90.0.1", 22)),
    ("connect by IPv6", connect_ipv6),
    ("resolve a name that is not granted", resolve),
    ("ask another resolver", ask_foreign_resolver),
    ("ping", ping),
    ("write under another's name", speak_for(SOMEBODY)),
    ("write outside the own prefixes", asked("write", key=f"{SOMEBODY}.counter", value={"n": 0})),
    ("delete another's key", asked("delete", key=f"{SOMEBODY}.counter")),
    ("read another's key", asked("latest", key=f"{SOMEBODY}.counter")),
    ("watch another's keys", asked("watch", prefix=f"{SOMEBODY}.")),
    ("query for everything", read_anything),
    ("export the log", asked("export")),
    ("list the agents", asked("agents")),
    ("send nonsense, and too much", garble),
    ("reach the host's SSH by vsock", vsock(HOST_CID, 22)),
    ("reach the host's control port by vsock", vsock(HOST_CID, 9101)),
    ("reach another VM's control port by vsock", vsock(4, 9101)),
    ("write to the root", write_file("/usr/escape")),
    ("change the own program", write_file("/agent/main.py")),
    ("write to others' files", write_file("/data/escape")),
    ("look above the root", read_host_files),
    ("read the machine's disk", open_file("/dev/vda")),
    ("use the machine's virtualization", open_file("/dev/kvm")),
)


def main() -> int:
    report = {what: outcome(attempt) for what, attempt in ATTEMPTS}
    got_out = [what for what, found in report.items() if not found["denied"]]
    for what, found in report.items():
        log(f"{'denied' if found['denied'] else 'NOT DENIED'}: {what}: {found['how']}")
    ctx.write(REPORT, {"attempts": report, "not_denied": got_out})
    return 1 if got_out else 0


def outcome(attempt: Attempt) -> dict[str, Any]:
    """Whether an attempt was denied, and how."""
    try:
        got = attempt()
    except Exception as error:
        return {"denied": True, "how": f"{type(error).__name__}: {error}"[:300]}
    return {"denied": False, "how": str(got)[:300]}


if __name__ == "__main__":
    sys.exit(main())
