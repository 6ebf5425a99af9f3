"""Where the kernel's source comes from: Debian's `linux-source` package, pinned in `source.lock`.

The pin makes a build repeatable and lets its cache key be computed without a network. A mirror keeps only the
newest versions of a release, so a pinned version can vanish; then the newest one of the same series is taken
and the substitution is remembered next to the builds, so that the next run is again a matter of the cache alone.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from image.debian import DebianArchive, DebianArchiveError, Package, sha256_of

SERIES = "6.12"
PACKAGE = f"linux-source-{SERIES}"
LOCK = Path(__file__).parent / "source.lock"
LOCK_HEADER = "# The kernel source that is built; written by `python -m kernel.build --update-lock`.\n"

# Large parts that no x86 kernel of ours compiles. Kconfig files have to stay: Kconfig reads all of them.
LEFT_OUT = (
    "Documentation/[!K]*",
    "drivers/gpu/drm/amd/include",
    "tools/testing",
    "tools/perf",
)

Say = Callable[[str], None]


class SourceError(Exception):
    """The source cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Pin:
    """One version of the source package and the SHA-256 of its `.deb`."""

    version: str
    sha256: str


def parse_lock(text: str) -> Pin:
    """Read `source.lock`: TOML with `version` and `sha256`."""
    try:
        table = tomllib.loads(text)
        pin = Pin(table["version"], table["sha256"])
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise SourceError(
            f'kernel/source.lock is not readable ({error}); it holds version = "…" and sha256 = "…"'
        ) from None
    if not pin.version.startswith(f"{SERIES}."):
        raise SourceError(f"kernel/source.lock pins {pin.version}, which is not of the {SERIES} series")
    return pin


def render_lock(pin: Pin) -> str:
    """The text of `source.lock`."""
    return f'{LOCK_HEADER}version = "{pin.version}"\nsha256 = "{pin.sha256}"\n'


def choose(pin: Pin, available: Sequence[Package]) -> tuple[Package, str | None]:
    """The package to build from, and what to say when it is not the pinned one.

    `available` holds the archive's versions, its preferred one first. Raises `SourceError` when there is none,
    or when the pinned version now has other contents.
    """
    for package in available:
        if package.version == pin.version:
            if package.sha256 != pin.sha256:
                raise SourceError(
                    f"{PACKAGE} {pin.version}: the archive's SHA-256 is {package.sha256}, the lock says {pin.sha256}; "
                    "one of them was tampered with, or the lock was edited by hand"
                )
            return package, None
    if not available:
        raise SourceError(f"the archive has no {PACKAGE}; check the mirror, or set NULLBOX_DEBIAN_MIRROR")
    newest = available[0]
    return newest, (
        f"{PACKAGE} {pin.version} is pinned, but the archive no longer has it; building {newest.version} instead "
        "(pin it with: python -m kernel.build --update-lock)"
    )


class KernelSource:
    """The pinned source, its substitute if it vanished, and the way to unpack it (edge: apt, tar, files).

    `cache_dir` is the folder of the finished builds, where a substitution is remembered.
    """

    def __init__(self, pin: Pin, cache_dir: Path, archive: DebianArchive, say: Say) -> None:
        self._pin = pin
        self._archive = archive
        self._say = say
        self._record = cache_dir / f"instead-of-{pin.version}"

    @property
    def version(self) -> str:
        """The version a build would use as far as is known without a network."""
        return self._record.read_text().strip() if self._record.exists() else self._pin.version

    def fetch(self) -> tuple[str, Path]:
        """The version that can really be had and its `.deb`, downloaded and verified."""
        pooled = [path for path in self._archive.pool.glob(f"{PACKAGE}_*.deb") if sha256_of(path) == self._pin.sha256]
        if pooled:
            return self._pin.version, pooled[0]
        try:
            package, notice = choose(self._pin, self._archive.versions(PACKAGE))
            deb = self._archive.download([package.spec])[0]
        except DebianArchiveError as error:
            raise SourceError(f"the kernel source could not be fetched: {error}") from error
        if notice:
            self._say(notice)
            self._record.parent.mkdir(parents=True, exist_ok=True)
            self._record.write_text(package.version + "\n")
        return package.version, deb

    def unpack(self, deb: Path, folder: Path) -> Path:
        """Unpack the parts of the source that a build needs below `folder`; returns the source tree."""
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)
        tarball = folder / "usr/src" / f"{PACKAGE}.tar.xz"
        excludes = [f"--exclude={PACKAGE}/{part}" for part in LEFT_OUT]
        # The archive is made of many blocks, which xz 5.4 and later unpack on all processors.
        unpack = ["tar", "--use-compress-program=xz --threads=0", "-xf", str(tarball), "-C", str(folder)]
        subprocess.run([*unpack, *excludes], check=True)
        tarball.unlink()
        return folder / PACKAGE


def newest_pin(archive: DebianArchive) -> Pin:
    """The archive's newest version, as a pin."""
    archive.update(max_age=0)
    available = archive.versions(PACKAGE)
    if not available:
        raise SourceError(f"the archive has no {PACKAGE}; check the mirror, or set NULLBOX_DEBIAN_MIRROR")
    return Pin(available[0].version, available[0].sha256)
