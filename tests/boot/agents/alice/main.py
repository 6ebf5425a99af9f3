"""One of two agents that exchange entries: it writes its own, hears the other's, and says what it heard.

Both run this program; AGENT_NAME tells which one this is. Each entry is written under the condition that its key has
none yet, so one whose answer got lost is found to be there when it is sent again, and is in the log once.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from nullbox_agent import Ctx, CtxError, ctx, log

COUNT = 500
OTHER = {"alice": "bob", "bob": "alice"}


def main() -> None:
    me = os.environ["AGENT_NAME"]
    heard: list[int] = []
    listener = threading.Thread(target=listen, args=(OTHER[me], heard))
    listener.start()
    repeated = sum(say(me, number, heard) for number in range(1, COUNT + 1))
    listener.join()
    result: dict[str, Any] = {"written": COUNT, "heard": heard, "repeated": repeated}
    ctx.write(f"exchanged.{me}", result)
    log(f"{me}: wrote {COUNT}, heard {len(heard)}, {repeated} were sent again")


def say(me: str, number: int, heard: list[int]) -> bool:
    """Write one entry, once; whether it was there already."""
    try:
        ctx.write(f"exchange.{me}.{number:04}", {"n": number, "heard": len(heard)}, expected_head=None)
    except CtxError as error:
        if error.code != "conflict":
            raise
        return True
    return False


def listen(other: str, heard: list[int]) -> None:
    """Hear the other's entries until its last one."""
    for entry in Ctx().watch(f"exchange.{other}.", since_seq=0):
        heard.append(entry["value"]["n"])
        if heard[-1] == COUNT:
            return


if __name__ == "__main__":
    main()
