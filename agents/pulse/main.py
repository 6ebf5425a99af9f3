"""Write a counter and this VM's boot id to ctxgraph, once a second."""

from __future__ import annotations

import time

from nullbox_agent import ctx, log

KEY = "pulse.counter"
REPORT_EVERY = 10


def first_number() -> int:
    """Go on where the last VM stopped."""
    latest = ctx.latest(KEY)
    return 1 if latest is None else int(latest["value"]["n"]) + 1


def main() -> None:
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot_id = file.read().strip()
    number = first_number()
    log(f"pulse begins at {number}, boot id {boot_id}")
    due = time.monotonic()
    while True:
        ctx.write(KEY, {"n": number, "boot_id": boot_id})
        if number % REPORT_EVERY == 0:
            log(f"beat {number}")
        number += 1
        # After a pause the beats that were missed are not made up for.
        due = max(due + 1, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


if __name__ == "__main__":
    main()
