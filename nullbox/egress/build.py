"""Edge: put egress together from its configuration, over the real kernel."""

from __future__ import annotations

from nullbox.egress.addresses import AddressRules, special_v4
from nullbox.egress.config import EgressConfig
from nullbox.egress.devices import addresses
from nullbox.egress.dns.server import ResolverThread
from nullbox.egress.dns.upstream import Upstream
from nullbox.egress.nft import KernelFirewall
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService
from nullbox.egress.tap import KernelTaps, Taps
from nullbox.egress.uplink import OwnAddresses, Uplink


def build(config: EgressConfig, taps: Taps | None = None, uplink: Uplink | None = None) -> EgressService:
    """The service over this thread's network namespace. Nothing is loaded until `prepare`.

    uplink: where interface and resolvers come from if the configuration names none.

    Raises:
        NullBoxError: `unavailable`, libnftables is missing.
    """
    uplinks = config.uplinks or (uplink.interfaces() if uplink else ())
    base = Base(uplinks, special_v4(str(network) for network in config.exceptions))
    return EgressService(
        base,
        KernelFirewall(),
        taps or KernelTaps(),
        ResolverThread(),
        ask=Upstream(uplink.servers if uplink and not config.upstreams else config.upstreams).ask,
        rules=AddressRules(OwnAddresses(addresses(), uplink), config.exceptions),
        may_learn=config.learn,
    )
