"""From the tables and what was fetched to the list of everything the image holds (reads folders, writes nothing).

An `Entry` says where a thing goes, with which permission bits, where it comes from, and how its content is
made. Owners need no field: everything is root's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from image import contents, texts
from image.contents import GUEST, LIBRARY_PATH, STDLIB_PATH, Library
from image.imports import excluded
from image.sources import Sources, Unpacked

GENERATED = "generated"


class PlanError(Exception):
    """The tables and what is there do not fit together; the message says where."""


@dataclass(frozen=True)
class Entry:
    """One thing in the image.

    path: below the root, without a leading slash.
    kind: `file` (copy of `source`), `text` (content is `text`), `pyc` (compiled from `source`; tracebacks say
        `text`; docstrings left out if `strip`), `link` (to `text`) or `folder`.
    mode: permission bits (of links: meaningless).
    origin: `debian:NAME=VERSION`, `pypi:NAME==VERSION`, `nullbox:PATH` or `generated`.
    """

    path: str
    kind: str
    origin: str
    mode: int = 0o644
    source: str = ""
    text: str = ""
    strip: bool = False


def module_name(path: str) -> str:
    """Dotted module name of a file below a folder of modules: `json/__init__.py` → `json`."""
    stem = path.split(".", 1)[0]
    parts = stem.split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_below(folder: Path, package: str) -> list[str]:
    """Names of all modules in the source files of a package of ours, itself included; empty if it has none."""
    files = sorted((folder / package.replace(".", "/")).rglob("*.py"))
    return [module_name(str(file.relative_to(folder))) for file in files]


def tree_entries(sources: Sources, prefix: str, guest: bool) -> Iterator[Entry]:
    """Interpreter, loader, shared objects, texts, links and mount points of one of the two trees."""
    for package, path in (contents.INTERPRETER, contents.LOADER):
        unpacked = sources.debian[package]
        yield Entry(prefix + path, "file", unpacked.origin, 0o755, str(unpacked.folder / path))
    for program in () if guest else contents.PROGRAMS:
        unpacked = sources.debian[program.package]
        yield Entry(program.path, "file", unpacked.origin, 0o755, str(unpacked.folder / program.path))
    for library in libraries_of(guest):
        unpacked = sources.debian[library.package]
        path = f"{LIBRARY_PATH}/{library.soname}"
        yield Entry(prefix + path, "file", unpacked.origin, 0o644, str(unpacked.folder / path))
    for path, (mode, text) in (texts.GUEST_TEXTS if guest else texts.HOST_TEXTS).items():
        yield Entry(prefix + path, "text", GENERATED, mode, text=text)
    for path, target in (contents.GUEST_LINKS if guest else contents.HOST_LINKS).items():
        yield Entry(prefix + path, "link", GENERATED, 0o777, text=target)
    for path in contents.GUEST_MOUNT_POINTS if guest else contents.HOST_MOUNT_POINTS:
        yield Entry(prefix + path, "folder", GENERATED, 0o755)


def libraries_of(guest: bool) -> list[Library]:
    """The shared objects of one of the two trees."""
    return [library for library in contents.LIBRARIES if (library.guest if guest else library.host)]


def stdlib_entry(path: str, source: Path, origin: str, prefix: str) -> Entry:
    """A module of the standard library: byte code in place of its source, or an extension module as it is."""
    target = f"{STDLIB_PATH}/{path}"
    if path.endswith(".py"):
        return Entry(f"{prefix}{target}c", "pyc", origin, source=str(source), text=f"/{target}", strip=True)
    return Entry(prefix + target, "file", origin, source=str(source))


def guest_stdlib(stdlib: Path, origins: Mapping[str, str]) -> Iterator[Entry]:
    """The guests' standard library: all modules but those in `GUEST_EXCLUDED`."""
    for file in sorted(stdlib.rglob("*")):
        path = str(file.relative_to(stdlib))
        name = module_name(path.removeprefix("lib-dynload/"))
        if file.suffix in (".py", ".so") and not excluded(name, contents.GUEST_EXCLUDED):
            yield stdlib_entry(path, file, origins[path], f"{GUEST}/")


def our_entry(path: str, repository: Path, target: str) -> Iterator[Entry]:
    """A source file of ours with its byte code beside it: crash reports show the lines of our own code."""
    origin = f"nullbox:{path}"
    source = str(repository / path)
    yield Entry(target, "file", origin, source=source)
    folder, _, name = target.rpartition("/")
    cached = f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc"
    shown = f"/{target.removeprefix(f'{GUEST}/')}"
    # Guests keep the docstrings: their authors may ask for help. The host's processes have no use for them.
    yield Entry(cached, "pyc", origin, source=source, text=shown, strip=not target.startswith(GUEST))


def host_modules(
    modules: Mapping[str, str],
    stdlib: Path,
    origins: Mapping[str, str],
    repository: Path,
    pypi: Iterable[Unpacked],
) -> Iterator[Entry]:
    """The modules that the trace found, each where the host's Python looks for it.

    modules: name → path of its file ('' for one built into the interpreter).
    origins: path below `stdlib` → origin.
    """
    distributions = list(pypi)
    for name, located in sorted(modules.items()):
        file = Path(located)
        if not located:
            continue
        if file.is_relative_to(stdlib):
            path = str(file.relative_to(stdlib))
            yield stdlib_entry(path, file, origins[path], "")
        elif owner := next((item for item in distributions if file.is_relative_to(item.folder)), None):
            target = f"system/python/{file.relative_to(owner.folder)}"
            if file.suffix == ".py":
                yield Entry(f"{target}c", "pyc", owner.origin, source=located, text=f"/{target}", strip=True)
            else:
                yield Entry(target, "file", owner.origin, source=located)
        elif file.is_relative_to(repository):
            path = str(file.relative_to(repository))
            yield from our_entry(path, repository, f"system/python/{path}")
        else:
            raise PlanError(f"module {name} comes from {located}, which is of no known origin")


def project_files(
    repository: Path, agents: Iterable[Path], programs: Iterable[tuple[str, str]] = ()
) -> Iterator[Entry]:
    """Configuration, the agents of these folders, the guests' programs, and these (path in the image, source)."""
    config = "image/config/nulld.toml"
    yield Entry("system/config/nulld.toml", "file", f"nullbox:{config}", source=str(repository / config))
    for target, path in programs:
        yield Entry(target, "file", f"nullbox:{path}", 0o755, str(repository / path))
    for folder in agents:
        for file in sorted(folder.rglob("*")):
            path = str(file.relative_to(folder.parent))
            if file.is_file() and "__pycache__" not in path:
                origin = f"nullbox:{file.relative_to(repository)}"
                yield Entry(f"system/agents/{path}", "file", origin, source=str(file))
    for file in sorted((repository / contents.GUEST_PROGRAMS).glob("*.py")):
        if file.name != "__init__.py":
            path = str(file.relative_to(repository))
            yield from our_entry(path, repository, f"{GUEST}/usr/lib/nullbox/{file.name}")


def krun_entries(smolmachines: Unpacked) -> Iterator[Entry]:
    """libkrun and its guest kernel."""
    for name in contents.KRUN_LIBRARIES:
        source = str(smolmachines.folder / "smol" / name)
        yield Entry(f"system/lib/{name}", "file", smolmachines.origin, source=source)


def metadata_entries() -> Iterator[Entry]:
    """Name and version of each distribution, where `importlib.metadata` looks for them."""
    for item in contents.DISTRIBUTIONS:
        folder = f"{item.name.replace('-', '_')}-{item.version}.dist-info"
        yield Entry(
            f"system/python/{folder}/METADATA",
            "text",
            f"pypi:{item.name}=={item.version}",
            text=f"Metadata-Version: 2.1\nName: {item.name}\nVersion: {item.version}\n",
        )


def certificate_bundle(folder: Path) -> str:
    """All certificates of a folder, in the order of their file names."""
    return "".join(file.read_text().strip() + "\n" for file in sorted(folder.rglob("*.crt")))


def with_folders(entries: Iterable[Entry]) -> list[Entry]:
    """The entries sorted by path, with every folder that one of them lies in.

    Raises:
        PlanError: two entries have one path.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in by_path:
            raise PlanError(f"/{entry.path} has two origins: {by_path[entry.path].origin} and {entry.origin}")
        by_path[entry.path] = entry
    for path in list(by_path):
        for parent in Path(path).parents:
            name = str(parent)
            if name != ".":
                by_path.setdefault(name, Entry(name, "folder", GENERATED, 0o755))
                if by_path[name].kind != "folder":
                    raise PlanError(f"/{path} lies below /{name}, which is a {by_path[name].kind}")
    return [by_path[path] for path in sorted(by_path)]
