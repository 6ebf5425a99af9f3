"""The sample agents, loaded as modules, each with the rights of its own manifest at a real store."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nullbox.cage.manifest import parse
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest import nullbox_agent
from nullbox.guest.nullbox_agent import Ctx
from nullbox.protocols.layout import Layout

AGENTS = Path(__file__).resolve().parents[3] / "agents"


@pytest.fixture
def service(short_path: Path) -> Iterator[CtxgraphService]:
    made = CtxgraphService()
    made.start(Layout(run=short_path / "r", state=short_path / "s"))
    yield made
    made.stop()


@pytest.fixture
def operator(service: CtxgraphService, short_path: Path) -> Iterator[Ctx]:
    """ctxgraph with the rights of the host."""
    client = Ctx(str(Layout(run=short_path / "r").ctx_host_socket))
    yield client
    client.close()


@pytest.fixture
def agent(service: CtxgraphService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """`agent(name)` → its program as a module; what it writes, it writes as itself."""

    def load(name: str) -> ModuleType:
        manifest = parse((AGENTS / name / "AGENT.toml").read_bytes())
        path = service.open_channel(name, list(manifest.ctx_read), list(manifest.ctx_write))
        nullbox_agent.ctx.close()
        monkeypatch.setenv(nullbox_agent.SOCKET_VARIABLE, str(path))
        monkeypatch.setenv("AGENT_NAME", name)
        monkeypatch.setitem(sys.modules, "nullbox_agent", nullbox_agent)
        spec = util.spec_from_file_location(f"agent_{name.replace('-', '_')}", AGENTS / name / "main.py")
        assert spec is not None
        assert spec.loader is not None
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    nullbox_agent.ctx.close()


class StandIn:
    """An HTTP server on loopback. `answers` are given in order, the last one again and again; `requests` are kept."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
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

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    standin = StandIn()
    yield standin
    standin.stop()
