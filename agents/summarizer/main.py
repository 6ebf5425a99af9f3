"""Summarize every page that `fetcher` writes, with the page as parent: `nullctl ctx graph` leads back to it.

It follows the other agent's entries by `watch`, and goes on after a restart where its own last summary says it was. The
summary is made of the page's own sentences, those with the words that the page uses most; no model is asked.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import Any

from nullbox_agent import ctx, log

SOURCE, TARGET = "fetch.page.", "summary."
SENTENCES = 3
COMMON = frozenset(
    (
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "the",
        "to",
    )
)

_BLOCKS = re.compile(r"<(script|style|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")
_ENDS = re.compile(r"(?<=[.!?])\s+")
_WORDS = re.compile(r"[^\W\d_]{2,}")


def main() -> None:
    log("summarizer follows", SOURCE)
    since = max((entry["value"]["value"]["page_seq"] for entry in ctx.own(TARGET)), default=0)
    for page in ctx.watch(SOURCE, since_seq=since):
        if "event" not in page and not page.get("erased"):
            take(page)


def take(page: dict[str, Any]) -> None:
    """Write the summary of one page."""
    content = page["value"]["value"] if "parents" in page else page["value"]
    summary = summarize(plain(content["text"]))
    name = page["key"].removeprefix(SOURCE)
    value = {"url": content["url"], "summary": summary, "page_seq": page["seq"]}
    ctx.write(TARGET + name, value, parents=[page["hash"]])
    log(f"{name}: {' '.join(summary)[:80]}")


def plain(text: str) -> str:
    """The words of an HTML page, without its marks."""
    return " ".join(html.unescape(_TAGS.sub(" ", _BLOCKS.sub(" ", text))).split())


def summarize(text: str, count: int = SENTENCES) -> list[str]:
    """The sentences whose words occur most in the text, in their order. A sentence is worth the mean of its words."""
    sentences = [sentence for sentence in _ENDS.split(text) if sentence]
    often = Counter(word for word in words(text) if word not in COMMON)
    worth = {
        place: sum(often[word] for word in found) / len(found)
        for place, sentence in enumerate(sentences)
        if (found := words(sentence))
    }
    best = sorted(worth, key=lambda place: (-worth[place], place))[:count]
    return [sentences[place] for place in sorted(best)]


def words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


if __name__ == "__main__":
    main()
