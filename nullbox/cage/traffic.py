"""What went over an agent's link, from the kernel's counters of its TAP (edge module: /sys).

Source: Linux, Documentation/ABI/testing/sysfs-class-net-statistics.
"""

from __future__ import annotations

from pathlib import Path

NETWORK = Path("/sys/class/net")

COUNTERS = {
    "net_sent_bytes": "rx_bytes",
    "net_received_bytes": "tx_bytes",
    "net_sent_packets": "rx_packets",
    "net_received_packets": "tx_packets",
}
"""The agent's word → the kernel's: what the agent sends, the host receives on the TAP."""


def counters(tap: str, network: Path = NETWORK) -> dict[str, int]:
    """Bytes and packets since the TAP was made. A counter that cannot be read is left out."""
    found = {}
    for name, file in COUNTERS.items():
        try:
            found[name] = int((network / tap / "statistics" / file).read_text())
        except (OSError, ValueError):
            continue
    return found
