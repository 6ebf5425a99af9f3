"""Why a packet was refused, as a table. The ruleset stamps the number on the packet, the denial log shows the text."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType


class Reason(IntEnum):
    """Order of the checks that a forwarded packet meets; the first that fails names the reason."""

    SPECIAL_ADDRESS = 1
    RESOLVER_PORT = 2
    CALL_BUDGET = 3
    FLOW_LIMIT = 4
    NO_GRANT = 5
    HOST = 6


TEXT = MappingProxyType(
    {
        Reason.SPECIAL_ADDRESS: "special-purpose or metadata address: no grant can reach it",
        Reason.RESOLVER_PORT: "other resolvers are refused: names are asked of the gateway address only",
        Reason.CALL_BUDGET: "max_api_calls_per_hour is used up",
        Reason.FLOW_LIMIT: "too many flows open at once",
        Reason.NO_GRANT: "no grant covers this address and port",
        Reason.HOST: "the host answers agents on port 53 of their gateway address only",
    }
)
