"""The layout of disk and ISO: where things lie, and that nothing about it is by chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image import disk
from nullbox.host import gpt, verified
from nullbox.host.verified import VerifiedRoot

ROOT = VerifiedRoot(1000, "0123456789abcdef" * 4)


def test_the_disk_has_two_places_for_roots_and_one_for_the_state() -> None:
    partitions = disk.partitions(ROOT)
    assert [p.label for p in partitions] == ["ESP", "ROOT-A", "ROOT-B", "STATE"]
    assert all(p.offset % disk.MIB == 0 and p.size % disk.MIB == 0 for p in partitions)
    assert list(gpt.table(disk.sectors(), partitions, disk.identity(ROOT, "disk")))


def test_the_roots_partition_is_the_one_that_the_kernel_is_told_of() -> None:
    root_a = next(p for p in disk.partitions(ROOT) if p.label == "ROOT-A")
    assert str(root_a.identity) == verified.partition_id(ROOT)


def test_no_two_things_have_one_guid() -> None:
    known = [p.identity for p in disk.partitions(ROOT)] + [disk.identity(ROOT, name) for name in ("disk", "iso")]
    assert len(set(known)) == len(known)


def test_another_root_has_other_guids() -> None:
    other = VerifiedRoot(1000, "f" * 64)
    ours = {p.identity for p in disk.partitions(ROOT)}
    assert ours.isdisjoint(p.identity for p in disk.partitions(other))
    assert disk.volume_serial(ROOT, "ESP") != disk.volume_serial(other, "ESP")


@given(st.integers(17, 1000), st.integers(1, 1000))
def test_files_of_the_iso_are_partitions(start: int, blocks: int) -> None:
    extents = {"ROOT-A": (start * 2048, blocks * 4096), "ESP": (start * 2048 + blocks * 4096, 1 << 20)}
    root, esp = disk.iso_partitions(ROOT, extents)
    assert (root.label, root.offset, root.size) == ("ROOT-A", start * 2048, blocks * 4096)
    assert esp.kind == gpt.EFI_SYSTEM
    assert root.last < esp.first


def test_a_file_that_does_not_fill_its_sectors_is_refused() -> None:
    with pytest.raises(ValueError, match="whole sectors"):
        disk.iso_partitions(ROOT, {"ROOT-A": (34816, 1000)})
