"""A start, rehearsed when the image is built: which files it reads, and what it compiles.

Run by the image's own Python in the tree as it is written. The request on standard input is JSON: `root` is the tree,
`path` the folder of our code, `modules` are imported in this order, and `precompiled` is a file to write the outcome to
(`nullbox.bootstrap.precompiled` says what is in it). The answer has `files`, what was read, in that
order, and `kept`, the files of byte code that are in `precompiled`.

What lies side by side in a compressed image is read and unpacked together. Sorted by name, a start takes a little from
everywhere, and unpacks the same blocks again and again.
"""

from __future__ import annotations

import collections
import importlib
import marshal
import re
import sys
import typing
from importlib.machinery import ModuleSpec
from typing import Any

PLAIN = 2
"""Version of marshal's format without references to equal objects, whose number depends on what else is in memory."""
PYC_HEADER = 16
"""Bytes before the code in a file of byte code (PEP 552)."""


class Kept:
    """What was compiled since `begin`. methods, texts: text → code. expressions: (pattern, flags) → arguments."""

    def __init__(self) -> None:
        self.methods: dict[str, Any] = {}
        self.texts: dict[str, Any] = {}
        self.expressions: dict[tuple[str | bytes, int], tuple[Any, ...]] = {}

    def begin(self) -> None:
        compiler: Any = vars(re)["_compiler"]
        self._compile, self._sre = compiler.compile, compiler._sre
        compiler.compile, compiler._sre = self._compile_pattern, self
        import dataclasses  # which compiles expressions, too

        vars(dataclasses)["exec"] = self._execute
        vars(collections)["eval"] = self._evaluate
        vars(typing)["compile"] = self._compile_text

    def __getattr__(self, name: str) -> Any:
        """The rest of `_sre`, whose place this takes in `re`'s compiler."""
        return getattr(self._sre, name)

    def _execute(self, text: str, *namespaces: Any) -> None:
        self.methods[text] = compile(text, "<string>", "exec", dont_inherit=True)
        exec(self.methods[text], *namespaces)  # noqa: S102 - what `dataclasses` does

    def _evaluate(self, text: str, *namespaces: Any) -> Any:
        return eval(self._compile_text(text, "<string>", "eval"), *namespaces)  # noqa: S307 - what `collections` does

    def _compile_text(self, text: str, name: str, mode: str) -> Any:
        self.texts[text] = compile(text, name, mode, dont_inherit=True)
        return self.texts[text]

    def _compile_pattern(self, pattern: Any, flags: int = 0) -> Any:
        self._flags = int(flags)
        return self._compile(pattern, flags)

    def compile(self, pattern: Any, flags: int, code: list[int], *more: Any) -> Any:
        """`_sre.compile`. Flags and code are integers, some of them of a class of their own."""
        if isinstance(pattern, str | bytes):
            self.expressions[pattern, self._flags] = (int(flags), [int(each) for each in code], *more)
        return self._sre.compile(pattern, flags, code, *more)

    def to_bytes(self, root: str) -> bytes:
        """The file: length of the table, the table, the pieces that it names."""
        pieces = bytearray()

        def add(content: bytes) -> tuple[int, int]:
            pieces.extend(content)
            return len(pieces) - len(content), len(content)

        modules = {}
        for name, path, spec in loaded(root):
            with open(path, "rb") as file:
                code = add(file.read()[PYC_HEADER:])
            package = spec.submodule_search_locations is not None
            modules[name] = (code, str(spec.origin).removeprefix(root), package)
        digest = importlib.import_module("nullbox.bootstrap.precompiled").digest
        methods = {digest(text): add(marshal.dumps(code, PLAIN)) for text, code in self.methods.items()}
        expressions = {known: add(marshal.dumps(made, PLAIN)) for known, made in self.expressions.items()}
        table = marshal.dumps((modules, methods, expressions, self.texts), PLAIN)
        return len(table).to_bytes(8, "little") + table + pieces


def loaded(root: str) -> list[tuple[str, str, ModuleSpec]]:
    """Name, file of byte code and spec of each module that was loaded from the tree, in the order of loading."""
    specs = [(name, getattr(module, "__spec__", None)) for name, module in list(sys.modules.items())]
    found = [(name, str(spec.cached or spec.origin), spec) for name, spec in specs if spec is not None]
    return [each for each in found if each[1].startswith(f"{root}/") and each[1].endswith(".pyc")]


def note_files() -> list[str]:
    """The files of the modules that are there already; grows by each file that is opened or loaded as an extension."""
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    found = [spec.cached or spec.origin for spec in specs if spec is not None and spec.has_location]

    def hear(event: str, given: tuple[Any, ...]) -> None:
        path = given[0] if event == "open" else given[1] if event == "import" else None
        if isinstance(path, str):
            found.append(path)

    sys.addaudithook(hear)
    return found


def main() -> None:
    files = note_files()
    kept = Kept()
    kept.begin()
    import json  # which compiles, too

    request = json.load(sys.stdin)
    sys.path.insert(0, request["path"])
    for name in request["modules"]:
        importlib.import_module(name)
    found = list(dict.fromkeys(files))
    with open(request["precompiled"], "wb") as file:
        file.write(kept.to_bytes(request["root"]))
    json.dump({"files": found, "kept": [path for _, path, _ in loaded(request["root"])]}, sys.stdout)


if __name__ == "__main__":
    main()
