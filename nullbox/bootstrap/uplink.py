"""`python -m nullbox.bootstrap.uplink INTERFACE SETTING RECORD`: give the uplink its address, then end.

Effects: packets, addresses, routes, a file. PID 1 starts it at boot, and again when the record says so: to renew a
lease, or to try again. Nobody listens on the uplink in between, and there is no memory held for it.

Two processes: one talks DHCP through a packet socket, as nobody and without any capability, since what it reads comes
from strangers. The other one gets from it one line, checks that as if it came from a stranger, too, and sets the
address.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from nullbox.bootstrap import dhcp, files
from nullbox.bootstrap.lease import NONE, Lease, LeaseError, parse_setting
from nullbox.bootstrap.rtnetlink import Link

ETH_P_IP: Final = 0x0800
NOBODY: Final = 65534
PR_SET_NO_NEW_PRIVS: Final = 38
SO_ATTACH_FILTER: Final = 26
MOST_PACKETS: Final = 20_000
"""Packets that one attempt looks at, so that a flood ends it instead of keeping it busy."""
ATTEMPT: Final = 30.0
"""Seconds, whatever happens."""
RETRY: Final = (5, 15, 30, 60)
"""Seconds until the next attempt, by the number of failed ones before."""
LARGEST_ANSWER: Final = 4096

FILTER: Final = (
    (0x30, 0, 0, 9),  # load the protocol
    (0x15, 0, 6, 17),  # UDP, or drop
    (0x28, 0, 0, 6),  # load flags and fragment offset
    (0x45, 4, 0, 0x1FFF),  # a later fragment: drop
    (0xB1, 0, 0, 0),  # X = length of the header
    (0x48, 0, 0, 2),  # load the destination port
    (0x15, 0, 1, dhcp.CLIENT_PORT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)
"""Classic BPF (Documentation/networking/filter.rst): UDP to port 68 and nothing else wakes us up."""


def main(argv: list[str]) -> int:
    """0 done, 75 (EX_TEMPFAIL) to be tried again, 2 it cannot work as it is set. Either way the record says more."""
    interface, setting, target = argv
    record = Path(target)
    before = read_record(record)
    try:
        wanted = parse_setting(setting)
        if wanted == NONE:
            return 0
        link = Link(interface)
        link.up()
        if isinstance(wanted, Lease):
            lease, how = wanted, "static"
        else:
            lease, how = _acquire(interface, _address_before(before)), "dhcp"
        link.apply(lease)
    except LeaseError as error:
        return _write(record, _failed(interface, before, str(error)), 2 if setting != "dhcp" else 75)
    except OSError as error:
        return _write(record, _failed(interface, before, f"{interface}: {error}"), 75)
    renew = None if lease.seconds is None else lease.seconds // 2  # T1 (RFC 2131, 4.4.5)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    until = None if lease.seconds is None else now + lease.seconds
    return _write(
        record,
        {"interface": interface, "how": how, **lease.to_plain(), "until": until, "again_s": renew, "failures": 0},
        0,
    )


def read_record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(files.read(path, 65536))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failed(interface: str, before: dict[str, Any], why: str) -> dict[str, Any]:
    """The record after an attempt that failed: a lease that still runs stays in it."""
    until = before.get("until")
    runs = isinstance(until, int | float) and until > time.clock_gettime(time.CLOCK_BOOTTIME)
    kept = {name: value for name, value in before.items() if runs or name in ("how", "failures")}
    failures = int(kept.get("failures") or 0) + 1
    again = RETRY[min(failures, len(RETRY)) - 1]
    return {**kept, "interface": interface, "error": why[:500], "failures": failures, "again_s": again}


def _write(path: Path, record: dict[str, Any], code: int) -> int:
    files.replace(path, json.dumps(record, sort_keys=True).encode() + b"\n")
    return code


def _address_before(record: dict[str, Any]) -> IPv4Address | None:
    """The address of a lease that still runs: it is asked for again, and kept."""
    try:
        if record["how"] == "dhcp" and record["until"] > time.clock_gettime(time.CLOCK_BOOTTIME):
            return IPv4Address(record["address"])
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _acquire(interface: str, again: IPv4Address | None) -> Lease:
    """A lease by way of the process that talks to strangers.

    Raises:
        LeaseError: there is none.
    """
    talker = open_socket(interface)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _talk(talker, writer, again)
    os.close(writer)
    talker.close()
    try:
        answer = _read_all(reader, time.monotonic() + ATTEMPT + 5.0)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise LeaseError("the process that asks DHCP servers died") from error
    if not isinstance(found, dict) or "address" not in found:
        raise LeaseError(f"no lease: {str(found)[:300]}")
    return Lease.from_plain(found)


def _read_all(reader: int, deadline: float) -> bytes:
    said = b""
    while len(said) <= LARGEST_ANSWER:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(reader, LARGEST_ANSWER) if ready else b""
        if not chunk:
            return said
        said += chunk
    return b""


def open_socket(interface: str) -> socket.socket:
    """A packet socket (packet(7)): it opens no port, and the firewall's input rules do not concern it."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    code = b"".join(struct.pack("=HBBI", *line) for line in FILTER)
    kept = ctypes.create_string_buffer(code)
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(kept)))
    opened.bind((interface, ETH_P_IP))
    return opened


def drop_privileges() -> None:
    """Become nobody, for good: no group, no capability, none to be had by exec (credentials(7), capabilities(7))."""
    if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs was refused")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _talk(talker: socket.socket, writer: int, again: IPv4Address | None) -> None:
    """The other process. Ends; its last words are one line of JSON: a lease, or why there is none."""
    try:
        drop_privileges()
        state = converse(talker, again)
        words: Any = state.lease.to_plain() if state.lease else {"error": state.failed}
    except Exception as error:
        words = {"error": f"{type(error).__name__}: {error}"}
    os.write(writer, json.dumps(words).encode()[:LARGEST_ANSWER])
    os._exit(0)


def converse(talker: socket.socket, again: IPv4Address | None) -> dhcp.State:
    """Ask until there is a lease, or the attempt is over."""
    name, _, _, _, mac = talker.getsockname()
    target = (name, ETH_P_IP, 0, 0, b"\xff" * 6)
    begun = time.monotonic()
    state, out = dhcp.begin(int.from_bytes(os.urandom(4), "big"), bytes(mac[:6]), begun, again)
    seen = 0
    while True:
        if out is not None:
            try:
                talker.sendto(out, target)
            except OSError as error:  # the cable is out, or not ready yet: the next try may do better
                if state.tries >= len(dhcp.WAITS):
                    raise
                sys.stderr.write(f"{error}\n")
        if state.lease or state.failed:
            return state
        now = time.monotonic()
        if now > begun + ATTEMPT or seen > MOST_PACKETS:
            raise TimeoutError(f"no lease within {now - begun:.0f} s and {seen} packets")
        ready, _, _ = select.select([talker], [], [], min(max(0.0, state.deadline - now), 5.0))
        if ready:
            seen += 1
            state, out = dhcp.received(state, talker.recv(2048), time.monotonic())
            if out is None and not state.lease and time.monotonic() >= state.deadline:
                state, out = dhcp.timed_out(state, time.monotonic())
        else:
            state, out = dhcp.timed_out(state, time.monotonic())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
