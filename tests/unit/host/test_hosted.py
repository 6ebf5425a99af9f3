from __future__ import annotations

from pathlib import Path

import pytest

from nullbox.host import hosted
from nullbox.host.hosted import Hosted, cgroup_mount
from nullbox.host.run import MachineError

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "25 24 0:22 / /sys/fs/cgroup ro shared:7 - tmpfs tmpfs ro,mode=755\n"
    "26 25 0:23 / /sys/fs/cgroup/unified rw shared:8 - cgroup2 cgroup2 rw\n"
    "27 25 0:24 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu\n"
)
PART = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (UNIFIED, Path("/sys/fs/cgroup")),
        (HYBRID, Path("/sys/fs/cgroup/unified")),
        (PART, None),
        ("", None),
        ("garbage\n\n - \n", None),
    ],
)
def test_where_cgroups_are(text: str, found: Path | None) -> None:
    assert cgroup_mount(text) == found


def test_each_state_folder_has_a_cgroup_of_its_own() -> None:
    one, two = (Hosted(Path(f"/srv/{name}"), "process", Path("/a")) for name in ("one", "two"))
    assert one.group != two.group
    assert one.group == Hosted(Path("/srv/one"), "krun", Path("/b")).group


def test_a_state_folder_has_one_instance(tmp_path: Path) -> None:
    with hosted.locked(tmp_path / "s"):
        with pytest.raises(MachineError, match=r"runs with .* already, as process"), hosted.locked(tmp_path / "s"):
            pass
        with hosted.locked(tmp_path / "t"):
            pass
    with hosted.locked(tmp_path / "s"):
        pass


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="--state"), hosted.locked(tmp_path / "file" / "s"):
        pass


def test_who_called_sudo_operates_the_instance() -> None:
    assert "uids = [0] }" in hosted.default_config(None)
    assert "uids = [0, 1000] }" in hosted.default_config("1000")
    assert "uids = [0] }" in hosted.default_config("0")
    assert "uids = [0] }" in hosted.default_config("1000; x")
