"""One of two agents that exchange entries: it writes some, hears as many of the other's, and so on to the end.

Both run this program; AGENT_NAME tells which one this is. The entries of one turn are sent together, since a round trip
out of an emulated VM takes long. Each is written under the condition that its key has none yet: one whose answer got
lost is found to be there when it is sent again, and is in the log once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from nullbox_agent import Connection, Ctx, ctx, log

COUNT = 500
AT_ONCE = 25
OTHER = {"alice": "bob", "bob": "alice"}
PATIENCE = 60.0


class Heard:
    """What came from the other one, in order; `wait` for it."""

    def __init__(self, other: str) -> None:
        self.numbers: list[int] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, args=(f"exchange.{other}.",), daemon=True)
        self._thread.start()

    def wait(self, count: int) -> None:
        with self._news:
            self._news.wait_for(lambda: len(self.numbers) >= count)

    def _listen(self, prefix: str) -> None:
        for entry in Ctx().watch(prefix, since_seq=0):
            with self._news:
                self.numbers.append(entry["value"]["n"])
                self._news.notify_all()


def main() -> None:
    me = os.environ["AGENT_NAME"]
    heard = Heard(OTHER[me])
    repeated = 0
    for first in range(1, COUNT + 1, AT_ONCE):
        repeated += say(me, range(first, first + AT_ONCE))
        heard.wait(first + AT_ONCE - 1)
    result: dict[str, Any] = {"written": COUNT, "heard": heard.numbers, "repeated": repeated}
    ctx.write(f"exchanged.{me}", result)
    log(f"{me}: wrote {COUNT}, heard {len(heard.numbers)}, {repeated} were sent again")


def say(me: str, numbers: range) -> int:
    """Write these entries, each once; how many of them were there already."""
    missing = set(numbers)
    there = 0
    deadline = time.monotonic() + PATIENCE
    while missing:
        try:
            there += send(me, missing)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise
            log(f"{me}: again, without {len(missing)} answers: {error}")
            time.sleep(0.2)
    return there


def send(me: str, missing: set[int]) -> int:
    """Send what is missing and take the answers away from it. Raises OSError when the connection breaks."""
    connection = Connection(None, 10.0)
    there = 0
    try:
        lines = []
        for number in sorted(missing):
            params = {"key": f"exchange.{me}.{number:04}", "value": {"n": number}, "expected_head": None}
            lines.append(json.dumps({"jsonrpc": "2.0", "id": number, "method": "write", "params": params}) + "\n")
        connection._socket.sendall("".join(lines).encode())
        for _ in lines:
            answer = connection.receive()
            code = answer.get("error", {}).get("data", {}).get("code")
            if code not in (None, "conflict"):
                raise ConnectionError(str(answer["error"]))
            there += code == "conflict"
            missing.discard(answer["id"])
    finally:
        connection.close()
    return there


if __name__ == "__main__":
    main()
