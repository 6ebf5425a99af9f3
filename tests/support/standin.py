"""A web server that stands in for the ones that sample agents talk to."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterable
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class StandIn:
    """An HTTP server. `answers` are given in order, the last one again and again; `requests` are kept."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, answers: Iterable[Answer] = ()) -> None:
        """port: 0 for any that is free."""
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        standin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                standin.requests.append((self.path, dict(self.headers.items()), body))
                answers = standin.answers
                status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((address, port), Handler)
        self.url = f"http://{address}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self) -> list[tuple[str, dict[str, str], bytes]]:
        """The requests so far: path, headers, body."""
        return list(self.requests)


def completion(text: Any = "Because.") -> bytes:
    """What an OpenAI-compatible server answers."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "standin-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    return json.dumps(answer).encode()
