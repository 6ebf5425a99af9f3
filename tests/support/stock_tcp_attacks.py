"""Attacks on Thespian's stock TCP base, to show that they work there. Runs in a network namespace of its own.

`python stock_tcp_attacks.py code|name|ports DIRECTORY`, below `unshare -n`; prints one JSON object. Nothing here can
reach another machine: the namespace has only its loopback device.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from listening import listening_inodes
from thespian.actors import Actor, ActorAddress, ActorSystem

os.environ["THESPLOG_FILE_MAXSIZE"] = "0"
NOBODY = 65534
ADMIN_PORT = 19_000


class Victim(Actor):  # type: ignore[misc]
    """Remembers who sent what."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, tuple) and message[0] == "who sent":
            self.send(sender, str(self.__dict__.get("senders", {}).get(message[1])))
        elif isinstance(message, str):
            self.__dict__.setdefault("senders", {})[message] = sender
            if message == "hello":
                self.send(sender, "hello")


class Payload:
    """Unpickling it writes a file, in the process that unpickles."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return exec, (f"import os; open({str(self.marker)!r}, 'w').write(str(os.getuid()))",)


def send_as(uid: int, port: int, packed: bytes) -> None:
    """Speak the stock protocol (a length, `>`, a pickle) from another process with this uid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                sock.sendall(b"%d>" % len(packed) + packed)
                sock.recv(100)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(pid, 0)


def port_of(address: ActorAddress) -> int:
    match = re.search(r":(\d+)", str(address))
    assert match, str(address)
    return int(match[1])


def attack(kind: str, directory: Path) -> dict[str, Any]:
    system = ActorSystem("multiprocTCPBase", {"Admin Port": ADMIN_PORT}, logDefs={"version": 1})
    try:
        victim, other = system.createActor(Victim), system.createActor(Victim)
        for actor in (victim, other):
            assert system.ask(actor, "hello", 5) == "hello"
        if kind == "code":
            marker = directory / "marker"
            send_as(NOBODY, port_of(victim), pickle.dumps(Payload(marker)))
            system.ask(victim, "hello", 5)
            return {"ran as uid": marker.read_text() if marker.exists() else None}
        if kind == "name":
            send_as(0, port_of(victim), pickle.dumps((other, "forged")))
            believed = system.ask(victim, ("who sent", "forged"), 5)
            return {"believed": believed == str(other)}
        return {"listening": len(listening_inodes())}
    finally:
        system.shutdown()


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(json.dumps(attack(sys.argv[1], Path(sys.argv[2]))))
