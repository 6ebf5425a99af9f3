"""The sample agents that the image does not start by itself, each in a VM of its own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import netspace
import outside
import pytest
from operator_view import Machine, until
from standin import StandIn, completion

AGENTS = Path(__file__).resolve().parents[2] / "agents"
WEB = "web.example.com:8080"
"""A name that `outside` has an address for; of its ports that one is free."""


def start(machine: Machine, folder: Path, name: str) -> None:
    """Start the sample with the whole processor: a share of an emulated one does not boot a VM in time."""
    home = folder / name
    shutil.copytree(AGENTS / name, home)
    manifest = home / "AGENT.toml"
    manifest.write_text(re.sub(r"max_cpu_percent = \d+", "max_cpu_percent = 100", manifest.read_text()))
    machine.ok("agent", "deploy", str(home), "--replace")
    machine.ok("agent", "start", name)


def ended(machine: Machine, name: str) -> int:
    """Wait until the agent has started and ended; its exit code."""
    until(lambda: machine.node(f"cage:{name}")["last_exit"], seconds=300, what=f"{name} to end", every=1.0)
    return int(machine.node(f"cage:{name}")["last_exit"]["code"])


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_the_hostile_agent_gets_nowhere_and_is_put_on_record(machine: Machine, tmp_path: Path) -> None:
    start(machine, tmp_path, "hostile")
    code = ended(machine, "hostile")
    report = machine.json("ctx", "latest", "hostile.report")["value"]
    assert report["not_denied"] == []
    assert code == 0
    assert len(report["attempts"]) > 20
    assert "hostile" not in {entry["agent_id"] for entry in machine.json("ctx", "query", "pulse.")["entries"]}

    def refused() -> set[str] | None:
        events = [json.loads(line) for line in machine.ok("-o", "json", "events").splitlines()]
        found = {e.get("what", "") for e in events if e["kind"] == "denied" and e["child"] == "cage:hostile"}
        return found if {"ctxgraph write", "ctxgraph delete", "ctxgraph latest", "ctxgraph watch"} <= found else None

    until(refused, seconds=60, what="the denials in the journal", every=1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_the_sandbox_runs_what_it_is_handed(machine: Machine, tmp_path: Path) -> None:
    machine.ok("ctx", "write", "sandbox.run.sum", '{"code": "print(6 * 7)", "seconds": 30}')
    machine.ok("ctx", "write", "sandbox.run.loop", '{"code": "while True: pass", "seconds": 1}')
    start(machine, tmp_path, "sandbox")

    def result(name: str) -> dict[str, object] | None:
        done = machine.nullctl("-o", "json", "ctx", "latest", f"sandbox.result.{name}")
        return dict(done.json["value"]["value"]) if done.code == 0 else None

    found = until(lambda: result("sum"), seconds=300, what="the sum", every=1.0)
    assert (found["outcome"], found["stdout"]) == ("ended", "42\n")
    found = until(lambda: result("loop"), seconds=120, what="the end of the loop", every=1.0)
    assert found["outcome"] == "out of time"
    machine.ok("agent", "stop", "sandbox")


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_a_summary_names_the_page_that_it_came_from(machine: Machine, tmp_path: Path) -> None:
    """The page is written by the operator: the machine has no way out, so `fetcher` can only say that."""
    page = '{"$ctxgraph": 1, "parents": [], "value": {"url": "u", "text": "<p>Tides rise. Tides fall.</p>"}}'
    machine.ok("ctx", "write", "fetch.page.tides", page)
    machine.ok("ctx", "write", "fetch.wanted.far", '{"url": "https://example.com/"}')
    for name in ("summarizer", "fetcher"):
        start(machine, tmp_path, name)

    def latest(key: str) -> dict[str, object] | None:
        done = machine.nullctl("-o", "json", "ctx", "latest", key)
        return dict(done.json) if done.code == 0 else None

    summary = until(lambda: latest("summary.tides"), seconds=300, what="the summary", every=1.0)
    assert summary["parents"] == [machine.json("ctx", "latest", "fetch.page.tides")["hash"]]
    until(lambda: latest("fetch.failed.far"), seconds=300, what="the report of a failure", every=1.0)
    for name in ("summarizer", "fetcher"):
        machine.ok("agent", "stop", name)


def granted(folder: Path, name: str, sample: str, start: str, ctx: str) -> Path:
    """A folder with the sample's program, as an agent that may talk to the servers outside. start: its main.py."""
    home = folder / name
    home.mkdir()
    shutil.copy(AGENTS / sample / "main.py", home / "sample.py")
    (home / "main.py").write_text(f"import os\n{start}\nimport sample\nsample.main()\n")
    (home / "AGENT.toml").write_text(
        f'[agent]\nname = "{name}"\nruntime = "python"\n[capabilities]\nmax_cpu_percent = 100\nmax_memory_mb = 128\n'
        f'[capabilities.network]\nallow = ["{WEB}"]\n'
        f'[capabilities.ctxgraph]\nread = ["{ctx}"]\nwrite = ["{ctx}"]\n'
    )
    return home


@pytest.mark.slow
@pytest.mark.skipif(bool(netspace.missing()), reason=f"the machine has no network card: {netspace.missing()}")
@pytest.mark.usefixtures("still")
def test_pages_and_answers_come_from_granted_servers(
    machine: Machine, internet: outside.Outside, tmp_path: Path
) -> None:
    """`fetcher` and `llm-client` as they are, against servers outside of the machine."""
    answers = [(200, {"Content-Type": "text/html"}, b"<p>Tides rise.</p>"), (200, {}, completion("The moon."))]
    server = internet.worker(lambda: StandIn("0.0.0.0", 8080, answers))

    def entry(key: str) -> dict[str, Any]:
        """The newest under a key, once there is one: the value of its envelope, with its parents."""
        done = machine.nullctl("-o", "json", "ctx", "latest", key)
        return {**done.json["value"]["value"], "parents": done.json["parents"]} if done.code == 0 else {}

    machine.ok("ctx", "write", "fetch.wanted.sea", json.dumps({"url": f"http://{WEB}/tides"}))
    machine.ok("agent", "deploy", str(granted(tmp_path, "getter", "fetcher", "", "fetch.")))
    page = until(lambda: entry("fetch.page.sea"), seconds=240, what="the page", every=1.0)
    assert (page["status"], page["text"]) == (200, "<p>Tides rise.</p>")
    assert page["parents"] == [machine.json("ctx", "latest", "fetch.wanted.sea")["hash"]]
    machine.ok("agent", "remove", "getter", "--yes")

    base = f"os.environ['LLM_BASE_URL'] = 'http://{WEB}/v1'"
    machine.ok("ctx", "write", "llm.ask.tides", '{"prompt": "Who moves them?"}')
    machine.ok("agent", "deploy", str(granted(tmp_path, "asker", "llm-client", base, "llm.")))
    answer = until(lambda: entry("llm.answer.tides"), seconds=240, what="the answer", every=1.0)
    assert (answer["text"], answer["model"]) == ("The moon.", "standin-1")
    machine.ok("agent", "remove", "asker", "--yes")

    (first, _, _), (second, _, body) = server.call("asked")
    assert (first, second) == ("/tides", "/v1/chat/completions")
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Who moves them?"}]
