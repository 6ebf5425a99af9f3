"""The recovery hold: what the console says when the system cannot go on."""

from __future__ import annotations

from collections.abc import Sequence


def hold_text(reason: str, reports: Sequence[tuple[str, Sequence[str]]] = ()) -> tuple[str, ...]:
    """Lines for the console: what happened, what was reported (heading and lines of each report), what still holds,
    what to do."""
    told = [line for heading, lines in reports for line in (f"{heading}:", *(f"  | {each}" for each in lines))]
    return (
        "==================== NullBox: recovery hold ====================",
        f"reason: {reason}",
        *told,
        "Running agents were left as they are; the firewall rules stay loaded.",
        "The log above says what led here. Nothing will be tried again by itself.",
        "To go on: reset or power-cycle the machine (Ctrl-Alt-Del reboots it).",
        "If it comes back here: boot with nullbox.uplink=none, or without the disk labelled STATE, to find out why.",
        "To reboot by itself next time: nullbox.on_failure=reboot on the kernel command line.",
        "================================================================",
    )
