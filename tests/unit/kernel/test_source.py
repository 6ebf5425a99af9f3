"""The pinned source: lock file, choice among what the archive has, and the memory of a substitution."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.debian import DebianArchive, Package
from kernel import source
from kernel.source import Pin, SourceError

PIN = Pin("6.12.117-1", "a" * 64)


def package(version: str, sha256: str = "a" * 64) -> Package:
    return Package(source.PACKAGE, version, "all", f"pool/{version}.deb", sha256, 1)


def test_the_lock_reads_back_as_written() -> None:
    assert source.parse_lock(source.render_lock(PIN)) == PIN


def test_the_repository_has_a_readable_lock() -> None:
    pin = source.parse_lock(source.LOCK.read_text())
    assert len(pin.sha256) == 64


@pytest.mark.parametrize("text", ["", "version = 6.12", 'version = "6.12.1-1"', 'version = "6.1.9-1"\nsha256 = "a"'])
def test_a_broken_lock_says_what_is_expected(text: str) -> None:
    with pytest.raises(SourceError, match=r"kernel/source\.lock"):
        source.parse_lock(text)


def test_the_pinned_version_is_taken_silently() -> None:
    assert source.choose(PIN, [package("6.12.120-1", "b" * 64), package("6.12.117-1")]) == (package("6.12.117-1"), None)


def test_a_vanished_version_is_replaced_by_the_newest_and_that_is_said() -> None:
    chosen, notice = source.choose(PIN, [package("6.12.121-1"), package("6.12.120-1")])
    assert chosen.version == "6.12.121-1"
    assert notice is not None and "6.12.121-1 instead" in notice and "--update-lock" in notice


def test_other_contents_under_the_pinned_version_are_refused() -> None:
    with pytest.raises(SourceError, match="SHA-256"):
        source.choose(PIN, [package("6.12.117-1", "b" * 64)])


def test_an_archive_without_the_package_is_an_error_that_names_the_mirror_setting() -> None:
    with pytest.raises(SourceError, match="NULLBOX_DEBIAN_MIRROR"):
        source.choose(PIN, [])


class _Archive(DebianArchive):
    """An archive that holds what the test says, and one small file as every package."""

    def __init__(self, folder: Path, held: list[Package]) -> None:
        super().__init__(folder)
        self.held = held

    def versions(self, name: str) -> list[Package]:
        return self.held

    def download(self, names: object) -> list[Path]:
        return [self.root / "some.deb"]


def test_a_substitution_is_remembered_so_that_the_next_run_needs_no_network(tmp_path: Path) -> None:
    said: list[str] = []
    archive = _Archive(tmp_path / "apt", [package("6.12.121-1")])
    first = source.KernelSource(PIN, tmp_path / "builds", archive, said.append)
    assert first.version == "6.12.117-1"
    assert first.fetch()[0] == "6.12.121-1"
    assert len(said) == 1
    assert source.KernelSource(PIN, tmp_path / "builds", archive, said.append).version == "6.12.121-1"
