"""nullctl top: the terminal around `top_screen`. Effects: curses."""

from __future__ import annotations

import curses
import os
import sys
from dataclasses import replace

import click

from nullbox.cli.context import Session, pass_session
from nullbox.cli.top_feed import Feed
from nullbox.cli.top_screen import Model, move, press, screen
from nullbox.protocols.errors import ErrorCode, NullBoxError

LOOK_EVERY = 100
"""Milliseconds between two looks at the keyboard and the data."""

SPECIAL = {curses.KEY_UP: "up", curses.KEY_DOWN: "down"}
COLOURS = {"title": curses.COLOR_GREEN, "bad": curses.COLOR_RED, "dim": curses.COLOR_CYAN}


@click.command()
@pass_session
def top(session: Session) -> None:
    """Watch the system live: tree, CPU, memory, denials, events.

    \b
    Keys: up and down select; p pause, r resume, R restart, s stop, S start the selected agent;
    l shows its log; q quits.
    """
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise click.UsageError("top needs a terminal; `nullctl status` and `nullctl tree` do not")
    feed = Feed(session.socket)
    feed.start()
    try:
        curses.wrapper(lambda window: _run(window, feed))
    except curses.error as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"the terminal cannot be used ({error}); is TERM right?") from None
    finally:
        feed.stop()


def _run(window: curses.window, feed: Feed) -> None:
    styles = _styles()
    window.timeout(LOOK_EVERY)
    own = Model()
    while True:
        found = feed.latest()
        logs = found.logs if found.logs_of == own.logs_of else ()
        message = own.message or found.message
        model = replace(found, selected=own.selected, logs_of=own.logs_of, logs=logs, message=message)
        if model.tree and not any(node["id"] == model.selected for node in model.tree):
            model = move(replace(model, selected=""), 1)
        _draw(window, model, styles)
        key = window.getch()
        name = SPECIAL.get(key) or (chr(key) if 0 < key < 128 else "")
        if name == "q":
            return
        own, command = press(replace(model, message=own.message), name) if name else (own_view(model, own), None)
        feed.look_at_logs(own.logs_of)
        if command is not None:
            feed.command(command)


def own_view(model: Model, own: Model) -> Model:
    """What the keys chose so far; the data is the feed's."""
    return replace(own, selected=model.selected)


def _draw(window: curses.window, model: Model, styles: dict[str, int]) -> None:
    height, width = window.getmaxyx()
    window.erase()
    for row, line in enumerate(screen(model, max(1, width - 1), height)):
        window.addnstr(row, 0, line.text, max(1, width - 1), styles.get(line.style, 0))
    window.refresh()


def _styles() -> dict[str, int]:
    """Attributes of the styles; without colour where there is none, or with NO_COLOR (https://no-color.org)."""
    curses.curs_set(0)
    styles = {"title": curses.A_BOLD, "selected": curses.A_REVERSE, "bad": curses.A_BOLD, "dim": curses.A_DIM}
    if os.environ.get("NO_COLOR") or not curses.has_colors():
        return styles
    curses.use_default_colors()
    for number, (style, colour) in enumerate(COLOURS.items(), 1):
        curses.init_pair(number, colour, -1)
        styles[style] = styles[style] & ~curses.A_DIM | curses.color_pair(number)
    return styles
