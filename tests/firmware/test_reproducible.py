"""The same inputs give the same bytes, whoever builds them, where and when."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from image.sources import cache_dir

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
HABITS = ({"TZ": "UTC", "LANG": "C"}, {"TZ": "Asia/Tokyo", "LANG": "C.UTF-8", "SOURCE_DATE_EPOCH": "86400"})
"""Settings of two people who build; one has the variable set that many tools take times from."""


def build(checkout: Path, program: str, *words: str, umask: int = 0o022, **environment: str) -> None:
    argv = [sys.executable, "-m", program, *words]
    done = subprocess.run(
        argv, cwd=checkout, env={**os.environ, **environment}, umask=umask, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def differing(one: Path, other: Path, names: list[str]) -> list[str]:
    """The files that are not the same; what diffoscope says about them, where it is installed."""
    found = [name for name in names if not filecmp.cmp(one / name, other / name, shallow=False)]
    if found and shutil.which("diffoscope"):
        for name in found:
            subprocess.run(["diffoscope", "--max-report-size", "20000", one / name, other / name])
    return found


def next_second() -> None:
    """Wait until the clock shows another time than it does now, to the precision of FAT's time stamps."""
    now = time.time()
    while time.time() // 2 == now // 2:
        time.sleep(0.05)


def test_disk_and_iso_from_one_root_are_the_same_bytes_twice(tmp_path: Path) -> None:
    for number, habits in enumerate(HABITS):
        output = tmp_path / str(number)
        for kind in ("disk", "iso"):
            words = (kind, "--kernel", str(BUILD / "bzImage"), "--output", str(output))
            build(ROOT, "image.artefacts", *words, umask=(0o022, 0o077)[number], **habits)
        next_second()
    names = ["nullbox.efi", "nullbox.img", "nullbox.iso", "sbom.json"]
    assert differing(tmp_path / "0", tmp_path / "1", names) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_checkouts_give_the_same_bytes(tmp_path: Path) -> None:
    """Byte code is compiled twice; only what was downloaded is shared."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for number, habits in enumerate(HABITS):
        checkout = tmp_path / f"checkout{number}" / ("nullbox", "a longer name")[number]
        for name in filter(None, files):
            target = checkout / name.decode()
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name.decode(), target)
        cache = tmp_path / f"cache{number}" / "nullbox"
        cache.mkdir(parents=True)
        for kept in ("apt", "wheels", "unpacked"):
            (cache / kept).symlink_to(cache_dir() / kept)
        settings = {**habits, "XDG_CACHE_HOME": str(cache.parent)}
        umask = (0o022, 0o077)[number]
        build(checkout, "image.build", "--level", "3", umask=umask, **settings)
        for kind in ("disk", "iso"):
            build(checkout, "image.artefacts", kind, "--kernel", str(BUILD / "bzImage"), umask=umask, **settings)
        next_second()
    one, other = (next((tmp_path / f"checkout{number}").iterdir()) / "build" for number in range(2))
    assert differing(one, other, ["root.squashfs", "nullbox.efi", "nullbox.img", "nullbox.iso", "sbom.json"]) == []


def test_the_bill_of_materials_names_everything_that_the_image_takes_files_from() -> None:
    bill = json.loads((BUILD / "sbom.json").read_text())
    named = {part["name"] for part in bill["components"]}
    origins = {row["origin"] for row in json.loads((BUILD / "image/manifest.json").read_text())}
    packages = {o.partition(":")[2].partition("=")[0] for o in origins if o.startswith(("debian:", "pypi:"))}
    assert packages
    assert packages - named == set()
    assert {"linux-source-6.12", "systemd-boot-efi"} <= named
    for part in bill["components"]:
        assert part["version"]
        assert len(part["hashes"][0]["content"]) == 64
        assert part["licenses"]
