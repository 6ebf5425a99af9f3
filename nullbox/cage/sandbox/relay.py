"""Effects: the agent's channel to ctxgraph, as libkrun makes it for a VM: each connection of the agent becomes one to
the channel's socket. The agent's end is a socket that lives as long as the sandbox, whatever happens to ctxgraph.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

MOST = 16
"""Connections at once; further ones wait."""
CHUNK = 64 * 1024


class Relay:
    """Listens at `at`; connects to `to` for every connection that comes."""

    def __init__(self, at: Path, to: Path) -> None:
        """Raises OSError: the socket cannot be made."""
        self._to = str(to)
        self._free = threading.BoundedSemaphore(MOST)
        at.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(at))
        at.chmod(0o666)  # the agent's user connects; the folder around it is root's alone
        self._listener.listen(MOST)

    def start(self) -> None:
        """Serve from now on, in threads that end with the process. Not before the last fork."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            with near, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as far:
                far.connect(self._to)
                back = threading.Thread(target=pump, args=(far, near), daemon=True)
                back.start()
                pump(near, far)
                back.join()
        except OSError:
            return  # ctxgraph is down; the agent's client sees a closed connection and tries again
        finally:
            self._free.release()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Move bytes one way until either side ends; then end the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
