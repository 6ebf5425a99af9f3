"""Progress of a build: which lines count, how often something is shown."""

from __future__ import annotations

import io

import pytest

from kernel import progress


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  CC      kernel/fork.o", "kernel/fork.o"),
        ("  AS      arch/x86/entry/entry_64.o", "arch/x86/entry/entry_64.o"),
        ("  HOSTCC  scripts/basic/fixdep", "scripts/basic/fixdep"),
        ("  LD      vmlinux", None),
        ("  AR      built-in.a", None),
        ("make[2]: Entering directory", None),
        ("", None),
    ],
)
def test_only_compiled_objects_count(line: str, expected: str | None) -> None:
    assert progress.compiled_object(line) == expected


def test_the_share_disappears_when_the_estimate_was_too_low() -> None:
    assert (
        progress.render("compiling", 50, 200, 61) == "kernel: compiling: 50 objects of roughly 200, about 25 % (1:01)"
    )
    assert "%" not in progress.render("compiling", 300, 200, 61)


def test_off_a_terminal_lines_are_at_least_fifteen_seconds_apart_and_never_stop() -> None:
    out = io.StringIO()
    shown = progress.Progress(out, 100, started=0.0)
    shown.begin("compiling", 0.0)
    for second in range(1, 46):
        shown.feed("  CC      a.o", float(second))
    for second in range(46, 76):  # a long link step says nothing
        shown.tick(float(second))
    lines = out.getvalue().splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["(0:00)", "(0:15)", "(0:30)", "(0:45)", "(1:00)", "(1:15)"]


def test_on_a_terminal_one_line_is_overwritten_and_messages_stand_alone() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    shown = progress.Progress(out, 100, started=0.0)
    shown.begin("compiling", 0.0)
    shown.feed("  CC      a.o", 1.0)
    shown.say("something else")
    shown.finish()
    assert out.getvalue().count("\r") == 2
    assert out.getvalue().endswith("(0:01)\nsomething else\n")
