"""The sample agent that summarizes: its text, its parents, and where it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.guest.nullbox_agent import Ctx, CtxError

Load = Callable[[str], ModuleType]

PAGE = (
    "<html><head><title>Tides</title></head><body><script>var tides = 1;</script><p>Tides rise and fall.</p>"
    "<p>The moon pulls the sea, and so tides follow the moon.</p> <p>Lunch was late.</p> "
    "The moon &amp; tides go on!</body>"
)


@pytest.fixture
def summarizer(agent: Load) -> ModuleType:
    return agent("summarizer")


def put_page(operator: Ctx, name: str, text: str) -> dict[str, Any]:
    return operator.read(operator.write(f"fetch.page.{name}", {"url": "u", "text": text})["hash"])


def test_marks_and_scripts_are_no_text(summarizer: ModuleType) -> None:
    text = summarizer.plain(PAGE)
    assert text.startswith("Tides rise and fall.")
    assert "var" not in text
    assert "moon & tides" in text


def test_the_sentences_that_say_most_come_in_their_order(summarizer: ModuleType) -> None:
    found = summarizer.summarize(summarizer.plain(PAGE), 2)
    assert len(found) == 2
    assert not any("Lunch" in sentence for sentence in found)
    text = summarizer.plain(PAGE)
    assert sorted(found, key=text.index) == found


def test_any_text_has_a_summary_of_its_own_sentences(summarizer: ModuleType) -> None:
    @given(st.text())
    def check(text: str) -> None:
        found = summarizer.summarize(text)
        assert len(found) <= 3
        assert all(sentence in text for sentence in found)

    check()


def test_it_follows_the_other_agent_and_names_its_parents(summarizer: ModuleType, operator: Ctx) -> None:
    first = put_page(operator, "tides", PAGE)
    worker = threading.Thread(target=run_until_stopped, args=(summarizer,), daemon=True)
    worker.start()
    watcher = Ctx(operator._path).watch("summary.", since_seq=0)
    summary = next(watcher)
    assert summary["key"] == "summary.tides"
    assert summary["parents"] == [first["hash"]]
    second = put_page(operator, "more", "One. Two.")
    assert next(watcher)["parents"] == [second["hash"]]
    graph = operator.graph(summary["hash"])
    assert {node["key"] for node in graph["nodes"]} == {"summary.tides", "fetch.page.tides"}


def run_until_stopped(module: ModuleType) -> None:
    try:
        module.main()
    except (CtxError, OSError, ValueError):
        return  # the store of the test is gone
