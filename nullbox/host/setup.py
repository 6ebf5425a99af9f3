"""`python3 -m nullbox.host.setup`: what a checkout needs before anything else: packages and a virtual environment.

Effects: apt, venv, pip. Run by the host's own Python before any of our dependencies is there: standard library only.
Nothing is done, and nobody is asked for a password, when nothing is missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kernel.packages import BUILD_PACKAGES, CLANG_PACKAGES

MINIMUM_PYTHON = (3, 11)

PACKAGES = (
    *BUILD_PACKAGES,
    "python3-venv",  # the virtual environment
    "ca-certificates",  # pip and apt over https
    "binutils",  # readelf checks the image
    "squashfs-tools",  # makes the image
    "dosfstools",  # the file system that firmware reads, and what is on it
    "mtools",
    "xorriso",  # the ISO image
    "sbsigntool",  # signs the kernel image, and makes keys for the tests of it
    "openssl",
    "cryptsetup-bin",  # the tests' second opinion on the hash tree
    "ovmf",  # firmware for the tests that boot as a real machine does
    "qemu-system-x86",  # runs it
    "seabios",  # QEMU's firmware, only recommended by it
    "libnftables1",  # the tests load rulesets, in namespaces of their own
    "nftables",  # the tests look at them with nft
    "iproute2",  # the tests make namespaces with ip
    "erlang-base",  # OTP's own supervisor, beside which ours is tested
    "tmux",  # a terminal for the tests of nullctl top
    "bind9-dnsutils",  # dig, dnsperf, curl, nmap and a musl program: real clients that try to get out
    "dnsperf",
    "curl",
    "nmap",
    "e2fsprogs",  # looks into the state disks of machines that lost their power
    "musl-tools",
)
"""Packages of Debian 12 or newer and Ubuntu 24.04 or newer that building, running and testing take."""


def missing_packages(wanted: Sequence[str], dpkg_query: str) -> list[str]:
    """The wanted packages that are not installed.

    dpkg_query: output of `dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n' PACKAGE...`.
    """
    installed = {
        line.split()[0] for line in dpkg_query.splitlines() if line.split()[1:] == ["installed"] and line.split()
    }
    return [name for name in wanted if name not in installed]


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def run(argv: Sequence[str], **environment: str) -> None:
    """Run a command; its output is shown only if it fails, and then ends the setup."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        sys.exit(f"setup: `{' '.join(argv)}` failed:\n{done.stdout[-4000:]}")


def ensure_packages(wanted: Sequence[str]) -> None:
    """Install what is missing, with apt."""
    if shutil.which("dpkg-query") is None:
        sys.exit("setup: no dpkg here; NullBox is built on Debian 12 or newer or Ubuntu 24.04 or newer")
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
    )
    missing = missing_packages(wanted, query.stdout)
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo"]
    if root and shutil.which("sudo") is None:
        sys.exit(f"setup: run as root, or install: {' '.join(missing)}")
    say(f"installing {len(missing)} packages: {' '.join(missing)}")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]
    run([*apt, "update"])
    run([*apt, "install", "--yes", "--no-install-recommends", *missing])


def environment_key(repository: Path) -> str:
    """What the virtual environment depends on: our declared dependencies, and the Python that made it."""
    text = (repository / "pyproject.toml").read_bytes()
    return hashlib.sha256(text + sys.version.encode() + str(repository).encode()).hexdigest()


def ensure_environment(repository: Path) -> None:
    """Make `build/venv` with our dependencies, and this checkout installed for editing."""
    venv = repository / "build" / "venv"
    stamp = venv / "stamp"
    key = environment_key(repository)
    if stamp.is_file() and stamp.read_text().strip() == key:
        return
    started = time.monotonic()
    if not (venv / "bin" / "python").exists():
        say("making the virtual environment build/venv")
        run([sys.executable, "-m", "venv", str(venv)])
    say("installing the Python packages of pyproject.toml")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # As a path, not as an import hook, which would cost each start of nullctl 20 ms.
    run([*pip, "--editable", f"{repository}[dev]", "--config-settings", "editable_mode=compat"])
    stamp.write_text(key + "\n")
    say(f"done after {time.monotonic() - started:.0f} s")


def main() -> None:
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(f"setup: Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer is needed, this is {sys.version}")
    clang = CLANG_PACKAGES if os.environ.get("CC", "").startswith("clang") else ()
    ensure_packages((*PACKAGES, *clang))
    ensure_environment(Path(__file__).resolve().parent.parent.parent)


if __name__ == "__main__":
    main()
