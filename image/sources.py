"""Fetch and unpack what the image is made of (edge: runs apt, pip and dpkg-deb, writes below the cache folder).

Everything is kept by file name in `~/.cache/nullbox` and unpacked once, so that a second build needs no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from image import contents
from image.contents import Distribution
from image.debian import DebianArchive, Package, extract, sha256_of

Say = Callable[[str], None]

WHEEL_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
WHEEL_ABIS = ("cp313", "abi3", "none")


class SourceError(Exception):
    """Something the image needs could not be had; the message says what, and why."""


@dataclass(frozen=True)
class Unpacked:
    """A package or distribution on disk: `folder` holds its files, `origin` names it with its version.

    sha256: of the file that was fetched.
    """

    folder: Path
    origin: str
    sha256: str = ""


@dataclass(frozen=True)
class Sources:
    """All that was fetched, by package name and by distribution name."""

    debian: dict[str, Unpacked]
    pypi: dict[str, Unpacked]


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/nullbox`, usually `~/.cache/nullbox`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nullbox"


def debian_package_names() -> list[str]:
    """Every Debian package that a table of `contents` takes a file from."""
    names = {library.package for library in contents.LIBRARIES}
    names |= {program.package for program in contents.PROGRAMS}
    names |= {contents.LOADER[0], contents.INTERPRETER[0], contents.CERTIFICATES[0]}
    return sorted(names | set(contents.STDLIB_PACKAGES))


def pip_arguments(distribution: Distribution, requirements: Path, target: Path) -> list[str]:
    """pip's command line that downloads exactly the pinned file: a wheel for the image's Python, or the sdist."""
    common = ["download", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(requirements)]
    common += ["--dest", str(target), "--disable-pip-version-check"]
    if distribution.sdist:
        return [*common, "--no-binary", ":all:"]
    platforms = [word for platform in WHEEL_PLATFORMS for word in ("--platform", platform)]
    abis = [word for abi in WHEEL_ABIS for word in ("--abi", abi)]
    interpreter = ["--implementation", "cp", "--python-version", "313"]
    return [*common, "--only-binary", ":all:", *interpreter, *platforms, *abis]


def _matching(folder: Path, distribution: Distribution) -> Path | None:
    """The pinned file of a distribution, if the folder has it."""
    stem = f"{distribution.name.replace('-', '[-_]')}-{distribution.version}"
    for path in sorted(folder.glob(f"{stem}[-.]*")):
        if sha256_of(path) == distribution.sha256:
            return path
    return None


def download(distribution: Distribution, say: Say) -> Path:
    """The pinned file of a distribution, from the cache or from the package index."""
    wheels = cache_dir() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    if found := _matching(wheels, distribution):
        return found
    say(f"downloading {distribution.name} {distribution.version}")
    with tempfile.TemporaryDirectory(dir=wheels) as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{distribution.name}=={distribution.version} --hash=sha256:{distribution.sha256}\n")
        argv = [sys.executable, "-m", "pip", *pip_arguments(distribution, requirements, Path(folder))]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        found = _matching(Path(folder), distribution)
        if done.returncode or found is None:
            raise SourceError(
                f"{distribution.name} {distribution.version} could not be downloaded: "
                f"{done.stderr.strip() or 'no file of the pinned hash came'}"
            )
        return found.rename(wheels / found.name)


def _unpack_once(archive: Path, unpack: Callable[[Path], None]) -> Path:
    """Folder with the archive's content, made on first use and complete if it exists."""
    target = cache_dir() / "unpacked" / archive.name
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
            fresh = Path(folder) / "content"
            unpack(fresh)
            if not target.is_dir():
                fresh.rename(target)
    return target


def unpack_distribution(archive: Path) -> Path:
    """Content of a wheel, or of a source distribution without its outermost folder."""

    def unpack(target: Path) -> None:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(target)  # noqa: S202  (zipfile drops leading '/' and '..')
            return
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            with tarfile.open(archive) as sdist:
                sdist.extractall(folder, filter="data")
            (outermost,) = Path(folder).iterdir()
            shutil.move(outermost, target)

    return _unpack_once(archive, unpack)


def fetch_debian(names: Iterable[str], say: Say) -> dict[str, Unpacked]:
    """Download and unpack Debian packages, as the archive offers them now."""
    archive = DebianArchive(say=say)
    packages: list[Package] = archive.lookup(list(names))
    debs = archive.download([package.spec for package in packages])
    return {
        package.name: Unpacked(
            _unpack_once(deb, lambda target, deb=deb: extract(deb, target)),  # type: ignore[misc]
            f"debian:{package.spec}",
            package.sha256,
        )
        for package, deb in zip(packages, debs, strict=True)
    }


def fetch(say: Say) -> Sources:
    """Everything that the tables of `contents` name, unpacked."""
    debian = fetch_debian(debian_package_names(), say)
    pypi = {
        item.name: Unpacked(unpack_distribution(download(item, say)), f"pypi:{item.name}=={item.version}", item.sha256)
        for item in contents.DISTRIBUTIONS
    }
    return Sources(debian, pypi)
