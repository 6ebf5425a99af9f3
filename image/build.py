"""`python -m image.build [--variant test]`: make `build/root.squashfs` from the tables (edge; prints what it does).

Nothing is done when nothing that goes in has changed. Versions of Debian packages are looked up anew only when
something is built; `--refresh` builds in any case, and so takes what the archive has now.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from image import audit, contents, plan, sbom, squash, stage, start, texts, verity
from image.audit import Listed
from image.debian import DEFAULT_SUITE, DebianArchiveError
from image.imports import Rules
from image.interpreter import ImagePython, InterpreterError
from image.plan import Entry
from image.sources import SourceError, Sources, fetch
from image.variants import RELEASE, VARIANTS, Variant
from nullbox.host import verified
from nullbox.host.verified import OnCorruption

REPOSITORY = Path(__file__).resolve().parent.parent
HOST_ONLY = ("nullbox/chaos/", "nullbox/cli/", "nullbox/host/", "nullbox/testing.py")
"""Files below the watched folders that no part of the image comes from."""


class BuildError(Exception):
    """The image would break its own rules; the message lists how."""


def say(line: str) -> None:
    """One line of progress."""
    print(f"image: {line}", flush=True)


def input_files(repository: Path, variant: Variant) -> list[Path]:
    """The files of this project that an image depends on."""
    found = [repository / "pyproject.toml", *(repository / source for _, source in variant.programs)]
    for folder, patterns in {
        "image": ("*.py", "config/*"),
        "nullbox": ("**/*.py",),
        "pykrun": ("**/*.py",),
        **{str(folder.relative_to(repository)): ("**/*",) for folder in variant.agent_folders(repository)},
    }.items():
        for pattern in patterns:
            found += (repository / folder).glob(pattern)
    relative = {path: str(path.relative_to(repository)) for path in found}
    return sorted(
        path
        for path, name in relative.items()
        if path.is_file() and "__pycache__" not in name and not name.startswith(HOST_ONLY)
    )


def input_key(repository: Path, variant: Variant) -> str:
    """One hash over the names, permission bits and contents of all input files."""
    parts: list[str | bytes] = []
    for path in input_files(repository, variant):
        parts += [str(path.relative_to(repository)), path.read_bytes()]
    return stage.digest(*parts)


def stdlib_origins(sources: Sources) -> dict[str, str]:
    """Path below the standard library → the package that it comes from."""
    found = {}
    for package in contents.STDLIB_PACKAGES:
        folder = sources.debian[package].folder / contents.STDLIB_PATH
        for path in folder.rglob("*"):
            found[str(path.relative_to(folder))] = sources.debian[package].origin
    return found


def trace(python: ImagePython, roots: Iterable[str], folders: Iterable[Path], rules: Rules) -> dict[str, str]:
    """Modules that can be reached from `roots` → path; each import that leads nowhere ends the build."""
    answer = python.run(
        "imports",
        {
            "roots": list(roots),
            "folders": [str(folder) for folder in folders],
            "rules": {"exclude": dict(rules.exclude), "hollow": dict(rules.hollow), "strict": rules.strict},
            "extension_suffix": contents.EXTENSION_SUFFIX,
        },
    )
    if answer["broken"]:
        raise BuildError("imports that lead nowhere:\n  " + "\n  ".join(answer["broken"]))
    return dict(answer["modules"])


def planned(sources: Sources, python: ImagePython, repository: Path, variant: Variant) -> list[Entry]:
    """Everything that goes into the image."""
    origins = stdlib_origins(sources)
    library = [python.stdlib, python.dynload]
    roots = [*contents.HOST_STDLIB_ROOTS]
    for package in contents.OUR_PACKAGES:
        roots += plan.modules_below(repository, package)
    distributions = [item for name, item in sources.pypi.items() if name != "smolmachines"]
    folders = [repository, *(item.folder for item in distributions), *library]
    strict = sorted({package.split(".")[0] for package in contents.OUR_PACKAGES})
    modules = trace(python, roots, folders, Rules(contents.HOST_EXCLUDED, contents.HOLLOW_PACKAGES, tuple(strict)))
    programs = repository / contents.GUEST_PROGRAMS
    ours = [file.stem for file in sorted(programs.glob("*.py")) if file.stem != "__init__"]
    trace(python, ours, [programs, *library], Rules(contents.GUEST_EXCLUDED, strict=tuple(ours)))
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    package, path = contents.CERTIFICATES
    bundle = plan.certificate_bundle(sources.debian[package].folder / path)
    entries = [
        *plan.tree_entries(sources, "", guest=False),
        *plan.tree_entries(sources, f"{contents.GUEST}/", guest=True),
        *plan.host_modules(modules, python.stdlib, origins, repository, distributions),
        *plan.guest_stdlib(python.stdlib, origins),
        *plan.project_files(repository, variant.agent_folders(repository), variant.programs),
        *plan.metadata_entries(),
        *plan.krun_entries(sources.pypi["smolmachines"]),
        Entry(start.PRECOMPILED, "text", plan.GENERATED),
        Entry("etc/os-release", "text", plan.GENERATED, text=texts.os_release(version, DEFAULT_SUITE)),
        Entry(
            f"{contents.GUEST}/etc/ssl/certs/ca-certificates.crt",
            "text",
            sources.debian[package].origin,
            text=bundle,
        ),
    ]
    return plan.with_folders(entries)


def listed(root: Path) -> list[Listed]:
    """The tree as written, owned by root as it will be in the image."""
    rows = []
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        rows.append(Listed(str(path.relative_to(root)), mode))
    return rows


def rehearse(root: Path) -> tuple[list[str], list[str]]:
    """Fill in what a start would read and compile.

    Returns:
        The files that a start reads to load code, in that order; those of byte code that is in `PRECOMPILED` now.
    """
    request = {
        "root": str(root),
        "path": str(root / "system/python"),
        "modules": start.LOADED,
        "precompiled": str(root / start.PRECOMPILED),
    }
    answer = ImagePython(root).run("rehearsal", request)
    read, kept = ([file.removeprefix(f"{root}/") for file in answer[name]] for name in ("files", "kept"))
    return [start.PRECOMPILED, *(file for file in read if not file.startswith("/"))], kept


def build(repository: Path, output: Path, variant: Variant, level: int, on_corruption: OnCorruption) -> None:
    """Fetch, plan, compile, write, check, squash and append the hash tree."""
    work = output / variant.work
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def step(line: str) -> None:
        say(f"{time.monotonic() - started:5.1f} s  {line}")

    step("packages and distributions")
    sources = fetch(step)
    python = ImagePython(work / "python")
    python.lay_out(sources)
    step("following imports")
    entries = planned(sources, python, repository, variant)
    step(f"compiling what is not compiled yet ({sum(e.kind == 'pyc' for e in entries)} modules in all)")
    compiled = stage.compile_entries([e for e in entries if e.kind == "pyc"], python)
    root = work / "root"
    stage.write_tree(entries, compiled, root)
    first, kept = rehearse(root)
    spare = {path for path in kept if path.startswith(start.PRECOMPILED_ONLY)}
    for path in spare:
        (root / path).unlink()
    entries = [entry for entry in entries if entry.path not in spare]
    stage.write_manifest(entries, work / "manifest.json")
    step(f"checking {len(entries)} paths")
    programs = [path for path, _ in variant.programs]
    broken = audit.violations(listed(root), {e.path: e.origin for e in entries}, squash.elves(root), programs)
    if broken:
        raise BuildError("the image breaks its rules:\n  " + "\n  ".join(broken))
    step("compressing")
    image, scratch = output / variant.file, work / "root.squashfs"
    squash.make(root, scratch, level, first)
    sealed = verity.seal(scratch, on_corruption)
    size = scratch.stat().st_size
    limited = variant.name == RELEASE and level == variant.level
    if limited and (too_large := audit.too_large(size)):
        raise BuildError(too_large[0])
    verified.beside(image).unlink(missing_ok=True)  # never beside an image that it does not describe
    scratch.replace(image)
    verified.beside(image).write_text(sealed.to_json())
    stage.write_json(sbom.components(sources), work / "components.json")
    limit = f" of at most {contents.MAX_BYTES / 1e6:.0f}" if limited else ""
    step(f"{image.relative_to(repository)}: {size / 1e6:.1f} MB{limit}")


def up_to_date(stamp: Path, image: Path, key: str, level: int) -> bool:
    """Whether the image at hand was made from inputs of this key, compressed at least as well."""
    if not (stamp.is_file() and image.is_file() and verified.beside(image).is_file()):
        return False
    made_from, _, made_at = stamp.read_text().strip().partition(" ")
    return made_from == key and int(made_at or 0) >= level


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m image.build", description="Build the root file system.")
    parser.add_argument("--refresh", action="store_true", help="build even if nothing has changed")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default=RELEASE, help="default: %(default)s")
    parser.add_argument("--level", type=int, help="zstd level; 3 is quick, for trying things")
    parser.add_argument(
        "--on-corruption",
        choices=get_args(OnCorruption),
        default="panic",
        help="what the kernel does about a block of the root that is not as it was built; default: %(default)s",
    )
    arguments = parser.parse_args()
    variant = VARIANTS[arguments.variant]
    level = arguments.level or variant.level
    output = REPOSITORY / "build"
    stamp, image = output / variant.work / "stamp", output / variant.file
    key = stage.digest(input_key(REPOSITORY, variant), arguments.on_corruption)
    if not arguments.refresh and up_to_date(stamp, image, key, level):
        say(f"build/{variant.file} is up to date ({image.stat().st_size / 1e6:.1f} MB)")
        return 0
    stamp.unlink(missing_ok=True)
    try:
        build(REPOSITORY, output, variant, level, arguments.on_corruption)
    except (BuildError, DebianArchiveError, SourceError, InterpreterError, plan.PlanError, squash.ToolError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(f"{key} {level}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
