"""Which modules a program can reach, found without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.imports import Finder, Import, Located, Rules, Trace, imports_of, trace


def imported(source: str, module: str = "pkg.mod", package: bool = False) -> list[Import]:
    return list(imports_of(source, module, package))


def names(source: str, **kwargs: bool) -> list[str]:
    return [f"{item.module}:{item.name}" if item.name else item.module for item in imported(source)]


def make(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def search(folder: Path, *roots: str, rules: Rules | None = None) -> Trace:
    return trace(roots, Finder([folder], ["sys", "builtin"], ".cpython-313.so"), rules or Rules())


def test_plain_and_from_imports() -> None:
    assert names("import a.b, c\nfrom d.e import f, g") == ["a.b", "c", "d.e:f", "d.e:g"]


@pytest.mark.parametrize(
    ("source", "package", "module"),
    [
        ("from . import x", False, "pkg"),
        ("from . import x", True, "pkg.mod"),
        ("from .a import x", False, "pkg.a"),
        ("from ..a import x", True, "pkg.a"),
    ],
)
def test_relative_imports_are_made_absolute(source: str, package: bool, module: str) -> None:
    assert [item.module for item in imported(source, package=package)] == [module]


def test_dynamic_imports_with_a_constant_name_count() -> None:
    source = "import_module('a.b')\nimportlib.import_module('c')\n__import__('d')\nimport_module(name)\n"
    assert names(source) == ["a.b", "c", "d"]


def test_what_only_a_type_checker_or_a_script_runs_does_not_count() -> None:
    source = """
if TYPE_CHECKING:
    import a
if typing.TYPE_CHECKING:
    import b
else:
    import c
if __name__ == "__main__":
    import d
"""
    assert names(source) == ["c"]


def test_required_is_what_runs_with_the_module() -> None:
    source = """
import a
class C:
    import b
def f():
    import c
try:
    import d
except ImportError:
    import e
if x:
    import g
"""
    assert {i.module: (i.required, i.guarded) for i in imported(source)} == {
        "a": (True, False),
        "b": (True, False),
        "c": (False, False),
        "d": (False, True),
        "e": (False, True),
        "g": (False, True),
    }


def test_a_trace_follows_imports_parents_and_submodules(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "main.py": "from pkg import sub, value\nimport sys, ext",
            "pkg/__init__.py": "value = 1\nimport pkg.inner",
            "pkg/inner.py": "",
            "pkg/sub.py": "import os.path",
            "pkg/unused.py": "",
            "os.py": "",
            "ext.cpython-313.so": "",
        },
    )
    found = search(tmp_path, "main")
    assert sorted(found.modules) == ["ext", "main", "os", "os.path", "pkg", "pkg.inner", "pkg.sub", "sys"]
    assert found.modules["sys"] == Located("")
    assert found.importers["main"] == ""
    assert found.importers["pkg.sub"] == "main"
    assert found.broken == []


def test_a_missing_requirement_breaks_the_entry_point_and_is_named(tmp_path: Path) -> None:
    make(tmp_path, {"main.py": "import a", "a.py": "import b", "b.py": "import gone"})
    assert search(tmp_path, "main").broken == ["b needs gone, which is not there"]


def test_a_module_that_cannot_be_imported_is_left_out_where_nothing_needs_it(tmp_path: Path) -> None:
    make(tmp_path, {"main.py": "try:\n  import win\nexcept ImportError: pass", "win.py": "import winapi"})
    found = search(tmp_path, "main")
    assert sorted(found.modules) == ["main"]
    assert found.broken == []


def test_an_excluded_module_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    make(tmp_path, {"main.py": "def f(): import pdb.x", "pdb/__init__.py": "", "pdb/x.py": ""})
    rules = Rules(exclude={"pdb": "debugger"})
    assert sorted(search(tmp_path, "main", rules=rules).modules) == ["main"]
    make(tmp_path, {"main.py": "import pdb"})
    assert search(tmp_path, "main", rules=rules).broken == ["main needs pdb, which is excluded"]


def test_in_strict_packages_an_import_inside_a_function_must_lead_somewhere(tmp_path: Path) -> None:
    make(tmp_path, {"ours.py": "def f():\n    import gone\ntry:\n    import also_gone\nexcept ImportError: pass"})
    assert search(tmp_path, "ours").broken == []
    assert search(tmp_path, "ours", rules=Rules(strict=("ours",))).broken == ["ours needs gone, which is not there"]


def test_the_code_of_a_hollow_package_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, {"main.py": "import big.part", "big/__init__.py": "import gone", "big/part.py": ""})
    found = search(tmp_path, "main", rules=Rules(hollow={"big": "registered without being run"}))
    assert found.broken == []
    assert found.modules["big"].path == ""
    assert found.modules["big.part"].path.endswith("part.py")


def test_circles_end(tmp_path: Path) -> None:
    make(tmp_path, {"a.py": "import b", "b.py": "import a"})
    assert sorted(search(tmp_path, "a").modules) == ["a", "b"]
