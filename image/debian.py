"""Fetch packages of a chosen Debian release without touching the host's own apt (edge module).

The host may be any Debian or Ubuntu. A private apt configuration with its own sources, package lists, status
file and download folder is made below the cache folder: nothing of the host changes, nothing is installed.
The only settings taken over from the host are those of the `Acquire` group (proxies, retries, timeouts): they
describe the machine's way to the network. Signatures are checked by apt itself, against Debian's own keyring.

Sources: apt.conf(5), sources.list(5), apt-get(8), apt-secure(8), deb-control(5).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SUITE = "trixie"
DEFAULT_MIRROR = "https://deb.debian.org/debian"
MIRROR_VARIABLE = "NULLBOX_DEBIAN_MIRROR"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
LISTS_FRESH_SECONDS = 24 * 3600.0

Say = Callable[[str], None]


class DebianArchiveError(Exception):
    """A package or the archive could not be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Package:
    """One binary package of the archive, as its index describes it.

    `filename` is the path below the mirror's root; `size` is in bytes; `depends` is the raw `Depends` field.
    """

    name: str
    version: str
    architecture: str
    filename: str
    sha256: str
    size: int
    depends: str = ""

    @property
    def spec(self) -> str:
        """The package as apt's command line names exactly this version."""
        return f"{self.name}={self.version}"

    @property
    def deb_name(self) -> str:
        """File name of the downloaded package (apt writes an epoch's colon as %3a)."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def default_cache_dir() -> Path:
    """The project's download cache: `$XDG_CACHE_HOME/nullbox/apt`, usually `~/.cache/nullbox/apt`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nullbox" / "apt"


# ---------------------------------------------------------------- pure part


def parse_stanzas(text: str) -> list[dict[str, str]]:
    """Split deb822 text into stanzas of field → value; continuation lines stay joined by newlines."""
    stanzas: list[dict[str, str]] = []
    current: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if current:
                stanzas.append(current)
            current, field = {}, ""
        elif line[0] in " \t":
            if field:
                current[field] += "\n" + line.strip()
        elif not line.startswith("#"):
            field, _, value = line.partition(":")
            current[field] = value.strip()
    return stanzas


def parse_packages(text: str) -> list[Package]:
    """Read the output of `apt-cache show`: one stanza per package version."""
    found: list[Package] = []
    for stanza in parse_stanzas(text):
        try:
            found.append(
                Package(
                    name=stanza["Package"],
                    version=stanza["Version"],
                    architecture=stanza["Architecture"],
                    filename=stanza["Filename"],
                    sha256=stanza["SHA256"].lower(),
                    size=int(stanza["Size"]),
                    depends=", ".join(
                        stanza[key].replace("\n", " ") for key in ("Pre-Depends", "Depends") if key in stanza
                    ),
                )
            )
        except KeyError as missing:
            raise DebianArchiveError(
                f"package stanza {stanza.get('Package', '(unnamed)')!r} has no field {missing.args[0]}"
            ) from None
    return found


def parse_install_uris(text: str) -> list[tuple[str, str]]:
    """Read `apt-get --print-uris install`: the (name, version) pairs, in apt's order.

    A line is `'URI' NAME_VERSION_ARCH.deb SIZE HASH`; other lines are apt's talk.
    """
    pairs = []
    for line in text.splitlines():
        match = re.match(r"'[^']+' ([^_\s]+)_([^_\s]+)_[^_\s]+\.deb \d+", line)
        if match:
            pairs.append((match[1], urllib.parse.unquote(match[2])))
    return pairs


def mirror_from_sources(texts: Iterable[str]) -> str | None:
    """The first Debian main-archive URI in the texts of a host's apt sources, of either format, else None.

    Only http and https are taken; a URI counts when its path ends in `/debian`, which leaves out the security
    archive and every third-party source.
    """
    for text in texts:
        uris: list[str] = re.findall(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)", text, flags=re.MULTILINE)
        for stanza in parse_stanzas(text):
            if "deb" in stanza.get("Types", "").split() and stanza.get("Enabled", "yes") != "no":
                uris += stanza.get("URIs", "").split()
        for uri in uris:
            if re.fullmatch(r"https?://\S+/debian/?", uri):
                return uri.rstrip("/")
    return None


def is_debian(os_release: str) -> bool:
    """Whether the text of `/etc/os-release` is Debian's own (not a derivative's)."""
    return re.search(r'^ID="?debian"?\s*$', os_release, flags=re.MULTILINE) is not None


def render_configuration(root: Path, acquire: str) -> str:
    """The private apt.conf: everything below `root`, nothing from the host but its `Acquire` settings."""
    kept = "\n".join(
        line
        for line in acquire.splitlines()
        if line.startswith("Acquire::") and not line.startswith(("Acquire::IndexTargets", "Acquire::Changelogs"))
    )
    return f"""{kept}
Dir "{root}/";
Dir::Etc "{root}/etc/";
Dir::Etc::main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "{root}/etc/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
Dir::State "{root}/state/";
Dir::State::Lists "{root}/state/lists/";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache/";
Dir::Log "{root}/log/";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def render_sources(mirror: str, suites: Sequence[str], keyring: Path) -> str:
    """The private sources.list, every line bound to Debian's own keyring."""
    return "".join(f"deb [arch=amd64 signed-by={keyring}] {mirror} {suite} main\n" for suite in suites)


# ---------------------------------------------------------------- effects


def choose_mirror() -> str:
    """`$NULLBOX_DEBIAN_MIRROR`, else the mirror a Debian host itself uses, else Debian's public default."""
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen.rstrip("/")
    release = Path("/etc/os-release")
    if release.exists() and is_debian(release.read_text(errors="replace")):
        apt = Path("/etc/apt")
        files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.sources"))]
        files += sorted((apt / "sources.list.d").glob("*.list"))
        texts = [path.read_text(errors="replace") for path in files if path.is_file()]
        if mirror := mirror_from_sources(texts):
            return mirror
    return DEFAULT_MIRROR


def find_keyring() -> Path:
    """Debian's archive keyring on this host."""
    for path in KEYRINGS:
        if path.is_file():
            return path
    raise DebianArchiveError(
        f"Debian's archive keyring was not found at {' or '.join(map(str, KEYRINGS))}; "
        "install the package debian-archive-keyring (Ubuntu has it too)"
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(deb: Path, target: Path) -> None:
    """Unpack the files of a package below `target` (made if missing); no maintainer script runs."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", str(deb), str(target)], check=True)


class DebianArchive:
    """A Debian release to look packages up in and download them from; every result is cached on disk.

    `cache_dir` defaults to `default_cache_dir()`; a subfolder per suite is used. `say` receives one line
    about each step that takes time. Several processes may use one cache: apt's runs are serialised by a file lock.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        suite: str = DEFAULT_SUITE,
        *,
        mirror: str | None = None,
        say: Say = lambda line: None,
    ) -> None:
        self.suite = suite
        self.root = (cache_dir or default_cache_dir()) / suite
        self._mirror = mirror
        self._say = say

    @property
    def pool(self) -> Path:
        """Folder of the downloaded packages."""
        return self.root / "pool"

    def update(self, max_age: float = LISTS_FRESH_SECONDS) -> None:
        """Fetch the package lists, unless those at hand are younger than `max_age` seconds.

        With lists at hand an unreachable mirror is no error: it is said, and the old lists are used.
        """
        stamp = self.root / "updated"
        mirror = self._mirror or choose_mirror()
        current = stamp.read_text().strip() if stamp.exists() else ""
        if current == mirror and time.time() - stamp.stat().st_mtime < max_age:
            return
        self._say(f"package lists of Debian {self.suite}: fetching")
        try:
            self._apt_get("update", "--error-on=any")
        except DebianArchiveError as error:
            if not current:
                raise
            self._say(f"package lists of Debian {self.suite}: {error}; using those fetched earlier")
            return
        stamp.write_text(mirror + "\n")

    def versions(self, name: str) -> list[Package]:
        """All versions of one package in the archive, apt's preferred one first; empty if there is none."""
        self.update()
        return parse_packages(self._run(["apt-cache", "show", "--all-versions", name], allow_failure=True))

    def lookup(self, names: Sequence[str]) -> list[Package]:
        """The package behind each `NAME` or `NAME=VERSION`, in the given order."""
        if not names:
            return []
        self.update()
        shown = parse_packages(self._run(["apt-cache", "show", "--no-all-versions", *names], allow_failure=True))
        by_spec = {package.spec: package for package in shown}
        by_name = {package.name: package for package in shown}
        missing = [name for name in names if name not in by_spec and name not in by_name]
        if missing:
            raise DebianArchiveError(
                f"Debian {self.suite} has no package {', '.join(missing)} (lists: {self.root / 'state/lists'})"
            )
        return [by_spec.get(name) or by_name[name] for name in names]

    def resolve_dependencies(self, names: Sequence[str]) -> list[Package]:
        """The named packages and everything they depend on (no recommendations), as on an empty system."""
        self.update()
        talk = self._apt_get("install", "--print-uris", "--yes", "--no-install-recommends", *names)
        pairs = parse_install_uris(talk)
        return sorted(self.lookup([f"{n}={v}" for n, v in pairs]), key=lambda package: package.name)

    def download(self, names: Sequence[str]) -> list[Path]:
        """The `.deb` of each `NAME` or `NAME=VERSION`, in order; verified, from the cache where possible."""
        packages = self.lookup(names)
        missing = [package for package in packages if not self._cached(package)]
        if missing:
            self.pool.mkdir(parents=True, exist_ok=True)
            total = sum(package.size for package in missing) / 1e6
            self._say(f"downloading {len(missing)} Debian packages, {total:.1f} MB")
            with tempfile.TemporaryDirectory(dir=self.root, prefix="download-") as folder:
                self._apt_get("download", *(package.spec for package in missing), cwd=Path(folder))
                for package in missing:
                    deb = Path(folder) / package.deb_name
                    if sha256_of(deb) != package.sha256:
                        raise DebianArchiveError(f"{package.deb_name}: SHA-256 is not {package.sha256}")
                    deb.replace(self.pool / package.deb_name)
        return [self.pool / package.deb_name for package in packages]

    def _cached(self, package: Package) -> bool:
        path = self.pool / package.deb_name
        return path.is_file() and path.stat().st_size == package.size and sha256_of(path) == package.sha256

    def _apt_get(self, *arguments: str, cwd: Path | None = None) -> str:
        return self._run(["apt-get", "-q", *arguments], cwd=cwd)

    def _run(self, argv: list[str], *, cwd: Path | None = None, allow_failure: bool = False) -> str:
        if shutil.which(argv[0]) is None:
            raise DebianArchiveError(f"{argv[0]} is not installed; the build needs a Debian or Ubuntu host")
        with self._locked():
            configuration = self._configure()
            result = subprocess.run(
                argv,
                cwd=cwd,
                env={**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
        if result.returncode and not allow_failure:
            reasons = [line for line in result.stderr.splitlines() if line.startswith(("E:", "W:"))]
            detail = "; ".join(reasons) or result.stderr.strip() or f"exit code {result.returncode}"
            raise DebianArchiveError(f"{' '.join(argv[:3])} failed: {detail}")
        return result.stdout

    def _configure(self) -> Path:
        for folder in ("etc", "state/lists/partial", "cache/archives/partial", "log"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        environment = {key: value for key, value in os.environ.items() if key != "APT_CONFIG"}
        acquire = subprocess.run(
            ["apt-config", "dump", "Acquire"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        configuration = self.root / "etc/apt.conf"
        configuration.write_text(render_configuration(self.root, acquire))
        mirror = self._mirror or choose_mirror()
        (self.root / "etc/sources.list").write_text(render_sources(mirror, (self.suite,), find_keyring()))
        return configuration

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
