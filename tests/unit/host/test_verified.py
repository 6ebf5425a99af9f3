"""What the kernel is told about the verified root."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.host import verified
from nullbox.host.verified import VerifiedRoot, VerifiedRootError

HASH = "ab" * 32
ROOT = VerifiedRoot(1000, HASH)


def test_a_whole_device() -> None:
    assert verified.arguments(ROOT, "/dev/vda") == (
        f'dm-mod.create="root,,,ro,0 8000 verity 1 /dev/vda /dev/vda 4096 4096 1000 1000 sha256 {HASH} - '
        '1 panic_on_corruption"',
        "root=/dev/dm-0",
    )


def test_a_partition_that_appears_late_is_waited_for() -> None:
    device = f"PARTUUID={verified.partition_id(ROOT)}"
    assert f"dm-mod.waitfor={device}" in verified.arguments(ROOT, device, wait=True)


def test_an_image_in_the_middle_of_a_device_is_cut_out_first() -> None:
    create, root = verified.arguments(ROOT, "/dev/sr0", image_bytes=1010 * 4096, offset=2048 * 30)
    assert create.startswith(
        'dm-mod.create="image,,,ro,0 8080 linear /dev/sr0 120;root,,,ro,0 8000 verity 1 /dev/dm-0 '
    )
    assert root == "root=/dev/dm-1"


def test_an_image_that_does_not_lie_on_sectors_is_refused() -> None:
    with pytest.raises(ValueError, match="whole sectors"):
        verified.arguments(ROOT, "/dev/sr0", image_bytes=1010 * 4096, offset=100)


def test_each_root_has_a_partition_of_its_own() -> None:
    assert verified.partition_id(ROOT) == "abababab-abab-abab-abab-abababababab"


def test_restarting_on_corruption_is_a_choice() -> None:
    create, _ = verified.arguments(VerifiedRoot(1, HASH, "restart"), "/dev/vda")
    assert create.endswith('1 restart_on_corruption"')


def test_the_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    image = tmp_path / "root.squashfs"
    with pytest.raises(VerifiedRootError, match="make image"):
        verified.read(image)
    verified.beside(image).write_text(ROOT.to_json())
    assert verified.read(image) == ROOT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        VerifiedRoot(0, HASH).to_json(),
        VerifiedRoot(5, HASH + '" init=/bin/sh').to_json(),
        VerifiedRoot(5, HASH).to_json().replace("panic", "ignore"),
    ],
)
def test_a_description_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(VerifiedRootError):
        verified.from_json(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(VerifiedRootError):
        verified.from_json(text)
