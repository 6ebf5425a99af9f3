"""What a checkout is missing."""

from __future__ import annotations

from nullbox.host.setup import PACKAGES, missing_packages


def test_only_what_is_fully_installed_counts() -> None:
    shown = "gcc installed\nqemu config-files\nzstd installed\nhalf half-configured\n"
    assert missing_packages(["gcc", "qemu", "zstd", "half", "bc"], shown) == ["qemu", "half", "bc"]


def test_nothing_is_missing_when_all_is_there() -> None:
    assert missing_packages(PACKAGES, "".join(f"{name} installed\n" for name in PACKAGES)) == []


def test_nothing_is_listed_twice() -> None:
    assert len(set(PACKAGES)) == len(PACKAGES)
