"""Which modules a set of entry points can reach, read from their source without running it (pure).

The image holds the standard library modules that something in it may import, and no others; this is how they are
found. Imports inside functions count, for they do run one day; the bodies of `if TYPE_CHECKING:` and
`if __name__ == "__main__":` do not. An import that the module can do without (inside a function, a `try` or an
`if`) may be missing or excluded; one that runs whenever the module is imported may not.

The program part at the end is run by the image's own Python, whose grammar the sources follow: it reads a request
as JSON from standard input and answers with JSON. Standard library only, hence.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import statement's claim: `module` (absolute), perhaps with a `name` that may be a submodule.

    `required`: it runs whenever the importing module is imported, so its absence breaks that module.
    `guarded`: it is in a `try` or an `if`, so the module is ready for its absence.
    """

    module: str
    name: str = ""
    required: bool = True
    guarded: bool = False


@dataclass(frozen=True)
class Located:
    """Where a module is: `path` of its file ('' for one built into the interpreter), and whether a package."""

    path: str
    package: bool = False

    @property
    def source(self) -> bool:
        return self.path.endswith(".py")


@dataclass
class Trace:
    """The outcome.

    modules: what can be reached, by name; importers: for each, the first module found to import it ('' for a
    root); broken: each import that leads nowhere and must not, as a sentence.
    """

    modules: dict[str, Located] = field(default_factory=dict)
    importers: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


VIRTUAL = frozenset({"os.path", "collections.abc", "_frozen_importlib", "_frozen_importlib_external"})
"""Modules without a file of their own: put into `sys.modules` by another one or by the interpreter."""


def _is_name(node: ast.expr, *names: str) -> bool:
    return (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Attribute) and node.attr in names)


def _never_runs(test: ast.expr) -> bool:
    """Whether an `if` of this test guards code that an importing program never runs."""
    if _is_name(test, "TYPE_CHECKING"):
        return True
    return (
        isinstance(test, ast.Compare)
        and _is_name(test.left, "__name__")
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value == "__main__"
    )


def _absolute(node: ast.ImportFrom, module: str, package: bool) -> str:
    """The absolute name of the module that `from ... import` names, seen from `module`."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _dynamic(node: ast.Call) -> str | None:
    """The module that `import_module("x.y")` or `__import__("x.y")` with a constant names."""
    if _is_name(node.func, "import_module", "__import__") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value[:1] != ".":
            return first.value
    return None


def imports_of(source: str, module: str, package: bool) -> Iterator[Import]:
    """All imports that a module's source contains, in order.

    Raises:
        SyntaxError: the source is not Python of this interpreter's grammar.
    """

    def visit(node: ast.AST, required: bool, guarded: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and _never_runs(node.test):
            for other in node.orelse:
                yield from visit(other, required, guarded)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", required, guarded)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, package)
            for alias in node.names:
                yield Import(base, alias.name, required, guarded)
        elif isinstance(node, ast.Call) and (name := _dynamic(node)):
            yield Import(name, "", False, guarded)
        guarded = guarded or isinstance(node, ast.If | ast.Try)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, required and not guarded and not function, guarded)

    yield from visit(ast.parse(source), True, False)


class Finder:
    """Finds modules in an ordered list of folders, then among the names built into the interpreter.

    A module of a package is looked for in the package's own folder only, as Python does it.
    """

    def __init__(self, folders: Sequence[Path], builtins: Iterable[str], extension_suffix: str) -> None:
        self._folders = list(folders)
        self._builtins = frozenset(builtins)
        self._suffixes = (extension_suffix, ".abi3.so", ".so")
        self._known: dict[str, Located | None] = {}

    def find(self, name: str) -> Located | None:
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Located | None:
        parent, _, leaf = name.rpartition(".")
        if name in VIRTUAL:
            return Located("")
        if parent:
            found = self.find(parent)
            folders = [Path(found.path).parent] if found and found.package and found.path else []
        else:
            folders = self._folders
        for folder in folders:
            if (folder / leaf / "__init__.py").is_file():
                return Located(str(folder / leaf / "__init__.py"), package=True)
            if (folder / f"{leaf}.py").is_file():
                return Located(str(folder / f"{leaf}.py"))
            for suffix in self._suffixes:
                if (folder / f"{leaf}{suffix}").is_file():
                    return Located(str(folder / f"{leaf}{suffix}"))
        return Located("") if not parent and name in self._builtins else None


def excluded(name: str, exclude: Mapping[str, str]) -> bool:
    """Whether a module, or a package it is in, is a key of the table of exclusions."""
    parts = name.split(".")
    return any(".".join(parts[: n + 1]) in exclude for n in range(len(parts)))


@dataclass(frozen=True)
class Rules:
    """What bends the search.

    exclude: modules that are left out → why. hollow: packages whose `__init__` is not run → by whom. strict:
    packages of ours, where every import outside a `try` or an `if` must lead somewhere, those in functions too.
    """

    exclude: Mapping[str, str] = field(default_factory=dict)
    hollow: Mapping[str, str] = field(default_factory=dict)
    strict: Sequence[str] = ()


@dataclass
class _Graph:
    """Every module that could be reached, and the imports among them: name → (required, optional) names."""

    located: dict[str, Located] = field(default_factory=dict)
    required: dict[str, list[str]] = field(default_factory=dict)
    optional: dict[str, list[str]] = field(default_factory=dict)
    strict: list[tuple[str, str]] = field(default_factory=list)


def _explore(roots: Iterable[str], finder: Finder, rules: Rules) -> _Graph:
    graph = _Graph()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        located = None if excluded(name, rules.exclude) else finder.find(name)
        if name in graph.located or located is None:
            continue
        graph.located[name] = located
        parent = name.rpartition(".")[0]
        required: list[str] = [parent] if parent else []
        optional: list[str] = []
        if located.source and name not in rules.hollow:
            source = Path(located.path).read_bytes().decode("utf-8", "surrogateescape")
            for item in imports_of(source, name, located.package):
                targets = [item.module] if item.module else []
                submodule = f"{item.module}.{item.name}"
                target = finder.find(item.module) if item.name not in ("", "*") else None
                if target and target.package and finder.find(submodule):
                    targets.append(submodule)
                (required if item.required else optional).extend(targets)
                if not item.guarded and name.split(".")[0] in rules.strict:
                    graph.strict += [(name, target) for target in targets]
        graph.required[name], graph.optional[name] = required, optional
        waiting += required + optional
    return graph


def _unusable(graph: _Graph, exclude: Mapping[str, str]) -> dict[str, str]:
    """Modules that cannot be imported → why: something that they require leads nowhere, however far down."""
    reasons: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for name in sorted(graph.located):
            for target in graph.required[name] if name not in reasons else ():
                if target not in graph.located:
                    kind = "is excluded" if excluded(target, exclude) else "is not there"
                    reasons[name] = f"{name} needs {target}, which {kind}"
                elif target in reasons:
                    reasons[name] = f"{name} needs {target}; {reasons[target]}"
                if name in reasons:
                    changed = True
                    break
    return reasons


def trace(roots: Iterable[str], finder: Finder, rules: Rules) -> Trace:
    """Follow all imports from `roots`.

    A module that cannot be imported without what is left out is left out too, if nothing needs it; `broken`
    reports the roots, and the imports of strict packages, for which that is so.
    """
    wanted = sorted(set(roots))
    graph = _explore(wanted, finder, rules)
    unusable = _unusable(graph, rules.exclude)
    result = Trace()
    for name, target in [*((root, root) for root in wanted), *graph.strict]:
        if target in unusable:
            # Of a chain only the end: one absence breaks many modules and is to be said once.
            result.broken.append(unusable[target].rpartition("; ")[2])
        elif target not in graph.located:
            kind = "is excluded" if excluded(target, rules.exclude) else "is not there"
            result.broken.append(f"{name} needs {target}, which {kind}")
    result.broken = sorted(set(result.broken))
    waiting = [(root, "") for root in wanted]
    while waiting:
        name, importer = waiting.pop()
        if name in graph.located and name not in unusable and name not in result.modules:
            result.modules[name] = Located("") if name in rules.hollow else graph.located[name]
            result.importers[name] = importer
            waiting += [(target, name) for target in graph.required[name] + graph.optional[name]]
    return result


def main() -> None:
    """Answer one request: roots, folders, rules, extension_suffix → modules, importers, broken."""
    request = json.load(sys.stdin)
    finder = Finder(
        [Path(folder) for folder in request["folders"]],
        sys.builtin_module_names,
        request["extension_suffix"],
    )
    outcome = trace(request["roots"], finder, Rules(**request["rules"]))
    json.dump(
        {
            "modules": {name: located.path for name, located in sorted(outcome.modules.items())},
            "importers": outcome.importers,
            "broken": outcome.broken,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
