"""The sample agents that the image does not start by itself, each in a VM of its own."""

from __future__ import annotations

import json

import pytest
from operator_view import Machine, until


def ended(machine: Machine, name: str) -> int:
    """Wait until the agent has started and ended; its exit code."""
    until(lambda: machine.node(f"cage:{name}")["last_exit"], seconds=300, what=f"{name} to end", every=1.0)
    return int(machine.node(f"cage:{name}")["last_exit"]["code"])


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_the_hostile_agent_gets_nowhere_and_is_put_on_record(machine: Machine) -> None:
    machine.ok("agent", "start", "hostile")
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
def test_the_sandbox_runs_what_it_is_handed(machine: Machine) -> None:
    machine.ok("ctx", "write", "sandbox.run.sum", '{"code": "print(6 * 7)", "seconds": 30}')
    machine.ok("ctx", "write", "sandbox.run.loop", '{"code": "while True: pass", "seconds": 1}')
    machine.ok("agent", "start", "sandbox")

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
def test_a_summary_names_the_page_that_it_came_from(machine: Machine) -> None:
    """The page is written by the operator: the machine has no way out, so `fetcher` can only say that."""
    page = '{"$ctxgraph": 1, "parents": [], "value": {"url": "u", "text": "<p>Tides rise. Tides fall.</p>"}}'
    machine.ok("ctx", "write", "fetch.page.tides", page)
    machine.ok("ctx", "write", "fetch.wanted.far", '{"url": "https://example.com/"}')
    for name in ("summarizer", "fetcher"):
        machine.ok("agent", "start", name)

    def latest(key: str) -> dict[str, object] | None:
        done = machine.nullctl("-o", "json", "ctx", "latest", key)
        return dict(done.json) if done.code == 0 else None

    summary = until(lambda: latest("summary.tides"), seconds=300, what="the summary", every=1.0)
    assert summary["parents"] == [machine.json("ctx", "latest", "fetch.page.tides")["hash"]]
    until(lambda: latest("fetch.failed.far"), seconds=300, what="the report of a failure", every=1.0)
    for name in ("summarizer", "fetcher"):
        machine.ok("agent", "stop", name)
