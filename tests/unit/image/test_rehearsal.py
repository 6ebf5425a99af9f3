"""A start that was rehearsed compiles nothing that the rehearsal kept, and does all else as ever."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nullbox.bootstrap import precompiled

ROOT = Path(__file__).resolve().parents[3]

FIRST = """
import re
import typing
from collections import namedtuple
from dataclasses import dataclass, field
import second
Pair = namedtuple("Pair", "left right")
HINTS = typing.get_type_hints(type("Hinted", (), {"__annotations__": {"x": "dict[str, int]"}}))
WORD = re.compile(r"(?P<letter>[a-z])\\w*", re.IGNORECASE)
@dataclass(frozen=True, order=True)
class Point:
    x: int
    y: list = field(default_factory=list)
"""
SECOND = "import re\nBYTES = re.compile(rb'[0-9]+')\n"

PROGRAM = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from nullbox.bootstrap import precompiled
precompiled.use(sys.argv[3])
import dataclasses, re
compiled, parsed = [], []
sys.addaudithook(lambda event, given: event == "compile" and given[1] == "<string>" and compiled.append(given[0]))
parse = re._parser.parse
re._parser.parse = lambda pattern, *more: parsed.append(str(pattern)) or parse(pattern, *more)
import first
later = re.compile("not (in) the file")
try:
    first.Point(1).x = 2
    frozen = False
except AttributeError:
    frozen = True
print(json.dumps({
    "compiled": len(compiled), "parsed": parsed, "frozen": frozen, "order": first.Point(1) < first.Point(2),
    "repr": repr(first.Point(3)), "match": first.WORD.match("Ab").groupdict(), "later": later.groups,
    "pair": first.Pair(1, right=2), "hints": repr(first.HINTS), "file": first.__file__,
    "bytes": bool(first.second.BYTES.match(b"7")), "flags": int(first.WORD.flags),
}))
"""


def run(*argv: object, text: str | None = None) -> Any:
    command = [sys.executable, "-IS", *map(str, argv)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "first.py").write_text(FIRST)
    (folder / "second.py").write_text(SECOND)
    (folder / "nullbox").symlink_to(ROOT / "nullbox")
    return folder


def rehearse(code: Path, kept: Path) -> list[str]:
    request = {"root": str(code), "path": str(code), "modules": ["first"], "precompiled": str(kept)}
    return list(run(ROOT / "image/rehearsal.py", text=json.dumps(request))["files"])


def test_files_are_named_in_the_order_of_loading(code: Path, tmp_path: Path) -> None:
    files = rehearse(code, tmp_path / "kept")
    places = [next(n for n, file in enumerate(files) if part in file) for part in ("dataclasses.", "first.", "second.")]
    assert places == sorted(places)


def test_what_was_kept_is_not_compiled_again(code: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    rehearse(code, kept)
    cold = run("-c", PROGRAM, ROOT, code, tmp_path / "none")
    warm = run("-c", PROGRAM, ROOT, tmp_path / "no code", kept)
    assert (warm.pop("file"), cold.pop("file")) == ("/first.py", str(code / "first.py"))
    assert (warm.pop("compiled"), warm.pop("parsed")) == (0, ["not (in) the file"])
    assert cold.pop("compiled") > 0
    assert len(cold.pop("parsed")) == 3
    assert warm == cold
    assert (warm["pair"], warm["hints"]) == ([1, 2], "{'x': dict[str, int]}")
    assert warm["frozen"] and warm["order"] and warm["repr"] == "Point(x=3, y=[])"


@pytest.mark.parametrize("content", [b"", b"no marshal", b"i\x01\x00\x00\x00"])
def test_a_file_that_cannot_be_read_changes_nothing(content: bytes, code: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(content)
    assert run("-c", PROGRAM, ROOT, code, kept)["compiled"] > 0


def test_a_rehearsal_gives_the_same_bytes_each_time(code: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rehearse(code, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


LATER = """
import json, sys, threading
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from nullbox.bootstrap import precompiled
precompiled.LATER = {"second": {"KNOWN": 1}}
precompiled.use(sys.argv[3])
import first, second
from first import second as again
put_off = [type(second).__name__, second.__name__, second.KNOWN, type(second).__name__]
found = []
asking = [threading.Thread(target=lambda: found.append(second.BYTES.match(b"7")[0].decode())) for _ in range(8)]
for each in asking:
    each.start()
for each in asking:
    each.join()
missing = [hasattr(second, name) for name in ("KNOWN", "re", "__doc__")]
print(json.dumps([put_off, again is second, found, type(second).__name__, missing]))
"""


def test_what_is_named_only_is_loaded_when_something_in_it_is_asked_for(code: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    rehearse(code, kept)
    put_off, same, found, kind, there = run("-c", LATER, ROOT, tmp_path / "no code", kept)
    assert put_off == ["Later", "second", 1, "Later"]
    assert same and found == ["7"] * 8
    assert kind == "module"
    assert there == [False, True, True]


FAILING = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from nullbox.bootstrap import precompiled
precompiled.LATER = {"second": {}}
precompiled.use(sys.argv[3])
import second
sys.broken = True
said = []
for _ in range(3):
    try:
        said.append(second.ANSWER)
    except ZeroDivisionError:
        said.append("failed")
        sys.broken = len(said) < 2
print(json.dumps(said))
"""


def test_a_module_whose_code_fails_is_tried_again(code: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (code / "second.py").write_text("import sys\nANSWER = 1 / (not getattr(sys, 'broken', False))\n")
    (code / "first.py").write_text("import second\n")
    rehearse(code, kept)
    assert run("-c", FAILING, ROOT, tmp_path / "no code", kept) == ["failed", "failed", 1.0]


def test_what_is_known_of_a_module_without_its_code_is_so() -> None:
    known = [(name, each) for name, content in precompiled.LATER.items() for each in content.items()]
    assert known == [(name, (key, getattr(importlib.import_module(name), key))) for name, (key, _) in known]


def test_data_classes_are_told_what_inspect_would_say() -> None:
    class Base:
        x: int

    class Derived(Base):
        y: str = ""

    for cls in (Base, Derived, type("Bare", (), {})):
        assert precompiled.Inspect.get_annotations(cls) == inspect.get_annotations(cls)
    assert precompiled.Inspect().isclass(Base)
