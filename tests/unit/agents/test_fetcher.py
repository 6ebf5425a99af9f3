"""The sample agent that fetches pages: what it keeps, how often it tries, what it gives up."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from nullbox.guest.nullbox_agent import Ctx

Load = Callable[[str], ModuleType]


@pytest.fixture
def fetcher(agent: Load) -> ModuleType:
    return agent("fetcher")


def wish(operator: Ctx, value: Any, name: str = "front") -> dict[str, Any]:
    return operator.read(operator.write(f"fetch.wanted.{name}", value)["hash"])


def test_a_page_is_kept_with_the_wish_as_its_parent(fetcher: ModuleType, operator: Ctx, server: Any) -> None:
    server.answers = [(200, {"Content-Type": "text/html; charset=iso-8859-1"}, "<p>Grüße</p>".encode("latin-1"))]
    asked = wish(operator, {"url": f"{server.url}/a"})
    fetcher.serve(asked)
    page = operator.latest("fetch.page.front")
    assert page is not None
    assert page["agent_id"] == "fetcher"
    assert page["parents"] == [asked["hash"]]
    kept = page["value"]["value"]
    assert kept == {
        "url": f"{server.url}/a",
        "status": 200,
        "type": "text/html",
        "text": "<p>Grüße</p>",
        "cut": False,
        "wish_seq": asked["seq"],
    }


def test_passing_failures_are_tried_again_with_growing_pauses(fetcher: ModuleType, operator: Ctx, server: Any) -> None:
    server.answers = [(503, {}, b""), (429, {}, b""), (200, {}, b"at last")]
    pauses: list[float] = []
    fetcher.serve(wish(operator, {"url": server.url}), pauses.append)
    assert pauses == [1.0, 2.0]
    page = operator.latest("fetch.page.front")
    assert page is not None
    assert page["value"]["value"]["text"] == "at last"


@pytest.mark.parametrize(
    ("status", "tries", "reason"), [(404, 1, "HTTP status 404 (after 1 tries)"), (500, 4, "HTTP status 500")]
)
def test_what_cannot_be_had_is_a_record_too(
    fetcher: ModuleType, operator: Ctx, server: Any, status: int, tries: int, reason: str
) -> None:
    server.answers = [(status, {}, b"")]
    fetcher.serve(wish(operator, {"url": server.url}), lambda seconds: None)
    assert len(server.requests) == tries
    failed = operator.latest("fetch.failed.front")
    assert failed is not None
    assert failed["value"]["value"]["reason"].startswith(reason)


@pytest.mark.parametrize("value", [{"url": "file:///etc/passwd"}, {"url": 7}, {}, "x", None, ["https://a"]])
def test_a_wish_that_is_none_is_refused_and_does_not_end_the_agent(
    fetcher: ModuleType, operator: Ctx, value: Any
) -> None:
    fetcher.serve(wish(operator, value))
    failed = operator.latest("fetch.failed.front")
    assert failed is not None
    assert "a wish is" in failed["value"]["value"]["reason"]


def test_a_large_page_is_cut_so_that_it_fits_an_entry(fetcher: ModuleType, operator: Ctx, server: Any) -> None:
    server.answers = [(200, {}, b"x" * (fetcher.MOST + 1))]
    fetcher.serve(wish(operator, {"url": server.url}))
    page = operator.latest("fetch.page.front")
    assert page is not None
    assert page["value"]["value"]["cut"]
    assert len(page["value"]["value"]["text"]) == fetcher.MOST


def test_after_a_restart_it_goes_on_after_the_last_wish_that_it_served(
    fetcher: ModuleType, operator: Ctx, server: Any
) -> None:
    assert fetcher.done_up_to() == 0
    server.answers = [(404, {}, b"")]
    asked = wish(operator, {"url": server.url})
    fetcher.serve(asked)
    assert fetcher.done_up_to() == asked["seq"]
    operator.write("fetch.page.by-hand", {"url": "u", "text": "put there by somebody else"})
    assert fetcher.done_up_to() == asked["seq"]


def test_a_host_that_does_not_answer_is_named_in_the_reason(fetcher: ModuleType, server: Any) -> None:
    server.stop()
    with pytest.raises(fetcher.Hopeless, match=r"refused.*4 tries"):
        fetcher.fetch_patiently(server.url, lambda seconds: None)
