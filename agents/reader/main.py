"""Follow the beats of `pulse`, and keep a summary of them: how many, the newest, from how many boots."""

from __future__ import annotations

from typing import Any

from nullbox_agent import ctx, log

SOURCE = "pulse."
SUMMARY = "reader.summary"
EVERY = 5
"""Beats between two summaries."""


def main() -> None:
    log("reader begins")
    count = 0
    boots: set[str] = set()
    after: int | None = None
    while page := ctx.query(SOURCE, limit=200, after=after):
        for entry in page:
            count += 1
            boots.add(str(entry["value"].get("boot_id")))
            after = int(entry["seq"])
    for entry in ctx.watch(SOURCE, since_seq=after or 0):
        count += 1
        boots.add(str(entry["value"].get("boot_id")))
        if count % EVERY == 0:
            summarize(count, entry, len(boots))


def summarize(count: int, newest: dict[str, Any], boots: int) -> None:
    summary = {"beats": count, "newest": newest["value"].get("n"), "boots": boots, "up_to_seq": newest["seq"]}
    ctx.write(SUMMARY, summary)
    log(f"{count} beats so far, the newest is {summary['newest']}")


if __name__ == "__main__":
    main()
