"""Fetch what is asked for under `fetch.wanted.`, and keep it under `fetch.page.` with the request as its parent.

    nullctl ctx write fetch.wanted.front '{"url": "https://example.com/"}'
    nullctl ctx latest fetch.page.front

Which hosts can be reached at all is decided by the manifest, outside of this VM: another host's name is not even
resolved. A page that could not be had after all tries is a record under `fetch.failed.`, with the reason.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from nullbox_agent import ctx, log

WANTED, PAGE, FAILED = "fetch.wanted.", "fetch.page.", "fetch.failed."
TRIES = 4
FIRST_PAUSE = 1.0
"""Seconds before the second try; twice as long before each one after it."""
TIMEOUT = 20.0
MOST = 128 * 1024
"""Bytes of a page that are kept: an entry of ctxgraph holds 256 KiB."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which another try may go better (RFC 9110, RFC 6585, RFC 8470)."""


def main() -> None:
    log("fetcher waits for wishes under", WANTED)
    for wish in ctx.watch(WANTED, since_seq=done_up_to()):
        if "event" not in wish:
            serve(wish)


def done_up_to() -> int:
    """The `seq` of the last wish that was served before this VM started: pages and failures name it."""
    return max((entry["value"]["value"]["wish_seq"] for entry in ctx.own(PAGE) + ctx.own(FAILED)), default=0)


def serve(wish: dict[str, Any], pause: Callable[[float], None] = time.sleep) -> None:
    """Fetch one page and record the outcome."""
    name = wish["key"].removeprefix(WANTED)
    url = wish["value"].get("url") if isinstance(wish["value"], dict) else None
    try:
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise Hopeless('a wish is {"url": "https://…"}')
        prefix, found = PAGE, fetch_patiently(url, pause)
    except Hopeless as error:
        prefix, found = FAILED, {"url": url, "reason": str(error)}
    ctx.write(prefix + name, found | {"wish_seq": wish["seq"]}, parents=[wish["hash"]])
    log(f"{prefix}{name}: {found.get('status') or found.get('reason')}")


class Hopeless(Exception):
    """It cannot be had; the text says why."""


def fetch_patiently(url: str, pause: Callable[[float], None]) -> dict[str, Any]:
    """Try a few times. Raises Hopeless."""
    wait = FIRST_PAUSE
    for attempt in range(1, TRIES + 1):
        try:
            return fetch(url)
        except urllib.error.HTTPError as error:
            reason, again = f"HTTP status {error.code}", error.code in PASSING
            error.close()
        except (OSError, ValueError) as error:
            reason, again = str(getattr(error, "reason", error)), isinstance(error, OSError)
        if not again or attempt == TRIES:
            raise Hopeless(f"{reason} (after {attempt} tries)")
        pause(wait)
        wait *= 2
    raise AssertionError("the loop returns or raises")


def fetch(url: str) -> dict[str, Any]:
    """One try. Raises OSError or ValueError."""
    request = urllib.request.Request(url, headers={"User-Agent": "nullbox-fetcher/1.0"})  # noqa: S310 - checked by serve
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        body = answer.read(MOST + 1)
        return {
            "url": answer.url,
            "status": answer.status,
            "type": answer.headers.get_content_type(),
            "text": body[:MOST].decode(answer.headers.get_content_charset() or "utf-8", "replace"),
            "cut": len(body) > MOST,
        }


if __name__ == "__main__":
    main()
