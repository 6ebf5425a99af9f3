"""The recovery hold: what the console says when the system cannot go on."""

from __future__ import annotations


def hold_text(reason: str) -> tuple[str, ...]:
    """Lines for the console: what happened, what still holds, what to do."""
    return (
        "==================== NullBox: recovery hold ====================",
        f"reason: {reason}",
        "Running agents were left as they are; the firewall rules stay loaded.",
        "The log above says what led here. Nothing will be tried again by itself.",
        "To go on: reset or power-cycle the machine (Ctrl-Alt-Del reboots it).",
        "To reboot by itself next time: nullbox.on_failure=reboot on the kernel command line.",
        "================================================================",
    )
