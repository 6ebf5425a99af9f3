"""Edge: the agents' TAP devices. Creates, configures, lists and removes them in the namespace of the calling thread.

A TAP is *persistent*: it outlives this process and the VMM that is attached to it, and its alias names its owner
(IFLA_IFALIAS), so a restarted egress learns from the kernel which agent has which link.

Sources: Linux `Documentation/networking/tuntap.rst`, `Documentation/networking/ip-sysctl.rst`, rtnetlink(7).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from nullbox.egress import devices
from nullbox.egress.netlink import open_route
from nullbox.egress.slots import LINK_PREFIX, Slot, slot_of_tap
from nullbox.protocols.errors import ErrorCode, NullBoxError

NUD_PERMANENT = 0x80
IFF_UP = 0x1

IPV4_SYSCTLS = MappingProxyType(
    {
        "forwarding": "1",
        "rp_filter": "1",  # strict: a source must be reachable through the link it came from (RFC 3704)
        "accept_source_route": "0",
        "accept_redirects": "0",
        "send_redirects": "0",
        "proxy_arp": "0",
        "route_localnet": "0",
        "arp_ignore": "1",  # answer for addresses of this link only
        "arp_announce": "2",
    }
)
IPV6_SYSCTLS = MappingProxyType({"disable_ipv6": "1", "accept_ra": "0", "forwarding": "0"})
"""Per interface. IPv6 is off for agents; these files are absent when the kernel has no IPv6, which is as good."""


@dataclass(frozen=True, slots=True)
class TapState:
    """One of our TAPs as the kernel has it. `agent` is empty if nobody's name is on it."""

    slot: Slot
    agent: str
    up: bool
    owner: int | None = None


class Taps(Protocol):
    """What the service asks of the devices. `MemoryTaps` is the twin that tests use."""

    def list(self) -> list[TapState]: ...

    def create(self, slot: Slot, agent: str, uid: int) -> None:
        """Make the TAP exist, owned by `uid`, with addresses, neighbour and hygiene set; an existing one is corrected.

        Does not bring it up: rules come first.

        Raises:
            NullBoxError: `unavailable`, the kernel refused (no TUN, no privilege).
        """
        ...

    def up(self, slot: Slot) -> None: ...

    def remove(self, slot: Slot) -> None:
        """Remove the TAP; nothing happens if there is none."""
        ...

    def ipv6_drops(self, slots: Iterable[Slot]) -> dict[Slot, int]:
        """How many IPv6 packets of each link the kernel has dropped since the TAP was made."""
        ...

    def enable_forwarding(self) -> None:
        """Let this namespace forward IPv4. Called only after the ruleset that drops by default is in place."""
        ...


class KernelTaps:
    """The TAPs of this thread's network namespace.

    Args:
        proc_sys: where sysctls are; another path in tests.
        snmp6: where the devices' IPv6 counters are.
    """

    def __init__(
        self, proc_sys: Path = Path("/proc/sys"), snmp6: Path = Path("/proc/thread-self/net/dev_snmp6")
    ) -> None:
        self._proc_sys = proc_sys
        self._snmp6 = snmp6

    def list(self) -> list[TapState]:
        if not any(map(slot_of_tap, devices.names())):
            return []  # and no need of the netlink client
        found = []
        with open_route() as route:
            for link in route.get_links():
                slot = slot_of_tap(link.get_attr("IFLA_IFNAME"))
                if slot is None:
                    continue
                data = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
                found.append(
                    TapState(
                        slot,
                        link.get_attr("IFLA_IFALIAS") or "",
                        bool(link["flags"] & IFF_UP),
                        data.get_attr("IFLA_TUN_OWNER") if data is not None else None,
                    )
                )
        return sorted(found, key=lambda tap: tap.slot)

    def create(self, slot: Slot, agent: str, uid: int) -> None:
        with open_route() as route:
            try:
                if not self._is_made(slot, uid):
                    self._make_device(route, slot, uid)
                index = self._index(route, slot)
                self._tame(slot)
                route.link("set", index=index, IFLA_IFALIAS=agent)
                route.addr("replace", index=index, address=slot.gateway, prefixlen=LINK_PREFIX)
            except Exception as error:
                raise _failed(slot, error) from error

    def up(self, slot: Slot) -> None:
        with open_route() as route:
            try:
                index = self._index(route, slot)
                route.link("set", index=index, state="up")
                # The host never asks who has the guest's address, so no answer can lie about it.
                route.neigh("replace", ifindex=index, dst=slot.guest, lladdr=slot.mac, state=NUD_PERMANENT)
            except Exception as error:
                raise _failed(slot, error) from error

    def remove(self, slot: Slot) -> None:
        with open_route() as route:
            found = route.link_lookup(ifname=slot.tap)
            if not found:
                return
            try:
                route.link("del", index=found[0])
            except Exception as error:
                if getattr(error, "code", None) != errno.ENODEV:
                    raise _failed(slot, error) from error

    def ipv6_drops(self, slots: Iterable[Slot]) -> dict[Slot, int]:
        """IPv6 is off on a TAP, so its packets die before any rule could count them; the device counts them itself."""
        return {slot: _discards(self._snmp6 / slot.tap) for slot in slots}

    def enable_forwarding(self) -> None:
        self._write("net/ipv4/ip_forward", "1")

    def _is_made(self, slot: Slot, uid: int) -> bool:
        """A VMM may hold the device already, which then cannot be made again."""
        return any(tap.slot == slot and tap.owner == uid for tap in self.list())

    def _make_device(self, route: Any, slot: Slot, uid: int) -> None:
        """Overridden in tests, where one end of a veth pair stands for the TAP."""
        route.link("add", ifname=slot.tap, kind="tuntap", mode="tap", uid=uid)

    @staticmethod
    def _index(route: Any, slot: Slot) -> int:
        found = route.link_lookup(ifname=slot.tap)
        if not found:
            raise FileNotFoundError(errno.ENODEV, f"there is no interface {slot.tap}")
        return int(found[0])

    def _tame(self, slot: Slot) -> None:
        for family, table in (("ipv4", IPV4_SYSCTLS), ("ipv6", IPV6_SYSCTLS)):
            for key, value in table.items():
                self._write(f"net/{family}/conf/{slot.tap}/{key}", value, optional=family == "ipv6")

    def _write(self, key: str, value: str, *, optional: bool = False) -> None:
        path = self._proc_sys / key
        if optional and not path.exists():
            return
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
        except OSError as error:
            raise NullBoxError(
                ErrorCode.UNAVAILABLE, f"sysctl {key.replace('/', '.')}={value} cannot be set: {error}"
            ) from error


def _discards(path: Path) -> int:
    """Ip6InDiscards of a device; 0 where the kernel has no IPv6."""
    try:
        rows = (line.split() for line in path.read_text().splitlines())
        return next((int(row[1]) for row in rows if row and row[0] == "Ip6InDiscards"), 0)
    except OSError:
        return 0


def _failed(slot: Slot, error: Exception) -> NullBoxError:
    if isinstance(error, NullBoxError):
        return error
    return NullBoxError(
        ErrorCode.UNAVAILABLE, f"TAP {slot.tap} cannot be configured (needs CONFIG_TUN and CAP_NET_ADMIN): {error}"
    )
