"""The sample agents, loaded as modules, each with the rights of its own manifest at a real store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from standin import StandIn

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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    standin = StandIn()
    yield standin
    standin.stop()
