"""Documents as scripts: their commands, the output they show, the files they have the reader write.

A fenced block `console` holds commands after `$ ` and their output; a block `sh` holds commands alone. An HTML comment
before a block says more: `<!-- file: PATH -->` has the reader write the block to that file, `<!-- exit: N -->` is the
status that the block's last command ends with, if not 0.

Output is compared by shape: numbers, times, durations and hashes may differ, and so may widths of columns. `…` stands
for anything within a line; alone on a line, for any lines. What follows the last line shown need not be shown.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,})(?P<info>.*)$")
COMMENT = re.compile(r"<!--\s*(?P<key>file|exit):\s*(?P<value>.+?)\s*-->")


@dataclass(frozen=True)
class Command:
    """One command of a page. output: the lines shown after it, None where none can be shown (a block `sh`)."""

    page: Path
    line: int
    text: str
    output: tuple[str, ...] | None
    status: int = 0

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {self.text}"


@dataclass(frozen=True)
class File:
    """A file that the reader is told to write."""

    path: str
    text: str


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first line of content, from 1. notes: what comments before it say."""

    info: str
    line: int
    lines: tuple[str, ...]
    notes: Mapping[str, str]


def pages() -> list[Path]:
    """All documents that speak to people."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "ARCHITECTURE.md",
        *sorted(ROOT.glob("*/README.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown text."""
    notes: dict[str, str] = {}
    opened: tuple[str, str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, inside = (fence["mark"], fence["info"].strip(), number + 1), []
        elif opened is not None and fence and fence["mark"].startswith(opened[0]) and not fence["info"].strip():
            yield Block(opened[1], opened[2], tuple(inside), notes)
            opened, notes = None, {}
        elif opened is not None:
            inside.append(line)
        elif comment := COMMENT.search(line):
            notes[comment["key"]] = comment["value"]
        elif line.strip():
            notes = {}


def steps(page: Path) -> list[Command | File]:
    """What a page has the reader do, in order."""
    found: list[Command | File] = []
    for block in blocks(page.read_text()):
        if "file" in block.notes:
            found.append(File(block.notes["file"], "\n".join(block.lines) + "\n"))
        elif block.info == "console":
            found += _session(page, block)
        elif block.info == "sh":
            found += _script(page, block)
    return found


ELSEWHERE = ("make ", "export ", "sudo ", "nullctl --socket ")
"""How commands begin that start, find or end a system: a page's others run on one that is there."""


def on_a_running_system(page: Path) -> list[Command | File]:
    """What a page has the reader do once a system runs and is found."""
    return [step for step in steps(page) if isinstance(step, File) or not step.text.startswith(ELSEWHERE)]


def commands(page: Path) -> list[Command]:
    return [step for step in steps(page) if isinstance(step, Command)]


def examples(page: Path, program: str) -> list[str]:
    """The examples that a page of a program's help shows: lines of text that begin with its name, in their order."""
    lines = [line.strip() for block in blocks(page.read_text()) if block.info == "text" for line in block.lines]
    return [line for line in lines if re.match(rf"{program} (?!VERB)[a-z-]", line)]


def _script(page: Path, block: Block) -> list[Command]:
    """The commands of a block without output; a backslash at the end of a line joins it with the next."""
    found: list[Command] = []
    text, first = "", 0
    for number, line in enumerate(block.lines):
        first = first if text else number
        text += line.removesuffix("\\").strip() + " "
        if not line.endswith("\\"):
            if text.strip() and not text.startswith("#"):
                found.append(Command(page, block.line + first, _without_remark(text), None))
            text = ""
    return found


def _session(page: Path, block: Block) -> list[Command]:
    found: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(block.lines):
        if line.startswith("$ "):
            found.append((block.line + number, line[2:], []))
        else:
            assert found, f"{page.name}:{block.line}: a console block begins with a command"
            found[-1][2].append(line)
    last = len(found) - 1
    status = int(block.notes.get("exit", "0"))
    return [
        Command(page, line, text, tuple(output), status if number == last else 0)
        for number, (line, text, output) in enumerate(found)
    ]


def _without_remark(line: str) -> str:
    return re.sub(r"\s+#\s.*$", "", line).strip()


# --- shapes

HASH = re.compile(r"\b[0-9a-f]{12,64}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
DURATION = re.compile(r"\b\d+(?:\.\d+)?(?:ms|[smhd])(?:\d+[smh])*(?![\w.])")
NUMBER = re.compile(r"\d+(?:\.\d+)*")


def shape(line: str) -> str:
    """A line without what differs from run to run."""
    line = line.replace("└─", "├─")
    line = NUMBER.sub("0", DURATION.sub("0s", HASH.sub("HASH", line)))
    return " ".join(line.split())


def differs(shown: Iterable[str], actual: str) -> str | None:
    """Why an output is not what a document shows; None when it is."""
    found = [shape(line) for line in actual.splitlines()]
    at, free = 0, False
    for line in shown:
        if line.strip() == "…":
            free = True
            continue
        if not line.strip() and free:
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in shape(line).split("…")))
        end = len(found) if free else min(at + 1, len(found))
        place = next((number for number in range(at, end) if pattern.fullmatch(found[number])), None)
        if place is None:
            return f"no line like {line!r} in what came:\n{actual}"
        at, free = place + 1, False
    return None


# --- running


class Shell:
    """One bash that keeps its folder and variables from command to command, as a reader's does."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._serial = 0

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin and self._process.stdout
        # The shell is idle, or in a command that took too long: what it started in its session goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def run(self, text: str, seconds: float) -> tuple[str, int]:
        """A command's output (both streams) and status.

        Raises:
            TimeoutError: it took longer.
        """
        assert self._process.stdin and self._process.stdout
        self._serial += 1
        mark = f"--end-of-{self._serial}-"
        self._process.stdin.write(f"{{ {text}\n}} < /dev/null; printf '\\n{mark}%d\\n' $?\n".encode())
        self._process.stdin.flush()
        data, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (ended := re.search(rb"\n" + mark.encode() + rb"(\d+)\n", data)):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"{text!r} has not ended after {seconds:.0f} s; so far: {data.decode()}")
                more = os.read(self._process.stdout.fileno(), 65536)
                if not more:
                    raise ChildProcessError(f"the shell ended in {text!r}: {data.decode()}")
                data += more
        return data[: ended.start()].decode(), int(ended[1])


def follow(
    shell: Shell, folder: Path, todo: Iterable[Command | File], seconds: float = 330.0, *, compare: bool = True
) -> None:
    """Do what a page says and compare. Fails with the page, the line and what came instead.

    seconds: for each command. compare: False looks at the commands' statuses only.
    """
    for step in todo:
        if isinstance(step, File):
            path = folder / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
            continue
        output, status = shell.run(step.text, seconds)
        assert status == step.status, f"{step}\nended with {status}, not {step.status}:\n{output}"
        if compare and step.output is not None:
            problem = differs(step.output, output)
            assert problem is None, f"{step}\n{problem}"
