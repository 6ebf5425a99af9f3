"""Byte code without docstrings, the same bytes every time, accepted by the import system."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from pathlib import Path

from image.bytecode import UNCHECKED_HASH, compile_source, pyc, strip_docstrings

SOURCE = b'''"""Module."""
class C:
    """Only a docstring."""
def f(x):
    """Says."""
    assert x, "kept"
    return x
def g():
    """Only a docstring."""
value = "not a docstring"
'''


def namespace(strip: bool) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile_source(SOURCE, "/image/m.py", strip), names)
    return names


def test_stripping_removes_docstrings_and_nothing_else() -> None:
    names = namespace(strip=True)
    for name in ("C", "f", "g"):
        assert names[name].__doc__ is None
    assert names.get("__doc__") is None
    assert names["value"] == "not a docstring"
    try:
        names["f"](0)  # type: ignore[operator]
    except AssertionError as error:
        assert str(error) == "kept"
    else:
        raise AssertionError("the assertion was stripped")


def test_docstrings_stay_unless_asked() -> None:
    assert namespace(strip=False)["f"].__doc__ == "Says."


def test_an_emptied_body_is_still_valid() -> None:
    tree = ast.parse('class C:\n    "doc"\nasync def f():\n    "doc"\n')
    strip_docstrings(tree)
    compile(tree, "x", "exec")


DATA_CLASSES = b'''
import dataclasses
from dataclasses import dataclass
@dataclass(frozen=True)
class Documented:
    """A point."""
    x: int
@dataclass
class Bare:
    x: int
@dataclasses.dataclass
class Empty:
    pass
'''


def test_data_classes_need_not_make_up_a_docstring() -> None:
    """They would do so at each import, which costs more than all else about them."""
    names: dict[str, object] = {"__name__": "m"}
    exec(compile_source(DATA_CLASSES, "/image/m.py", True), names)
    assert [names[name].__doc__ for name in ("Documented", "Bare", "Empty")] == ["-", "-", "-"]
    assert repr(names["Documented"](1)) == "Documented(x=1)"  # type: ignore[operator]


def test_tracebacks_say_the_name_in_the_image() -> None:
    assert compile_source(SOURCE, "/image/m.py", True).co_filename == "/image/m.py"


def test_the_file_is_taken_without_its_source(tmp_path: Path) -> None:
    path = tmp_path / "m.pyc"
    path.write_bytes(pyc(SOURCE, compile_source(SOURCE, "/image/m.py", True)))
    assert int.from_bytes(path.read_bytes()[4:8], "little") == UNCHECKED_HASH
    loader = importlib.machinery.SourcelessFileLoader("m", str(path))
    spec = importlib.util.spec_from_loader("m", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert module.f(3) == 3


def test_the_same_source_gives_the_same_bytes() -> None:
    assert pyc(SOURCE, compile_source(SOURCE, "m", True)) == pyc(SOURCE, compile_source(SOURCE, "m", True))
