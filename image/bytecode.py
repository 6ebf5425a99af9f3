"""Compile Python sources to `.pyc` files that are the same bytes every time (edge: reads and writes files).

Run by the image's own Python, so that the byte code fits it; standard library only, hence. It reads a request
as JSON from standard input: `{"jobs": [[source, target, name_in_image, strip], …]}`.

The files are "unchecked hash-based" (PEP 552): Python takes them as they are and never looks at the source or
at a time stamp. `strip` leaves out docstrings, which costs the interpreter memory and the image room;
`assert` stays, for it is part of the program. The caller gives `-X no_debug_ranges`: tracebacks name the line, not the
columns in it, and every code object is a fifth smaller. The jobs are compiled in the order of their names in one
process with a fixed hash seed (the caller sets PYTHONHASHSEED): both are visible in the output of marshal otherwise.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import marshal
import sys
import types
from pathlib import Path

UNCHECKED_HASH = 0b01


def strip_docstrings(tree: ast.Module) -> None:
    """Remove the docstring of a module and of all classes and functions in it, in place.

    A data class keeps one character: without a docstring it would make one up each time it is imported, from a
    signature that costs more than the rest of the class.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            rest = node.body[1:] if _has_docstring(node) else node.body
            if isinstance(node, ast.ClassDef) and any(map(_is_dataclass, node.decorator_list)):
                rest = [ast.copy_location(ast.Expr(ast.Constant("-")), node), *rest]
            if not rest and not isinstance(node, ast.Module):
                rest = [ast.copy_location(ast.Pass(), node.body[0])]
            node.body = rest
    ast.fix_missing_locations(tree)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _is_dataclass(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(named, "id", getattr(named, "attr", "")) == "dataclass"


def compile_source(source: bytes, name: str, strip: bool) -> types.CodeType:
    """Code object of a source whose tracebacks will say `name`."""
    tree = ast.parse(source, name)
    if strip:
        strip_docstrings(tree)
    code: types.CodeType = compile(tree, name, "exec", dont_inherit=True, optimize=0)
    return code


def pyc(source: bytes, code: types.CodeType) -> bytes:
    """The file that holds `code`, in the format of PEP 552 with an unchecked hash."""
    return (
        importlib.util.MAGIC_NUMBER
        + UNCHECKED_HASH.to_bytes(4, "little")
        + importlib.util.source_hash(source)
        + marshal.dumps(code)
    )


def main() -> None:
    jobs = sorted(json.load(sys.stdin)["jobs"], key=lambda job: job[2])
    for source_path, target, name, strip in jobs:
        source = Path(source_path).read_bytes()
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes(pyc(source, compile_source(source, name, strip)))


if __name__ == "__main__":
    main()
