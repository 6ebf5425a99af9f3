"""Folders that agents share, opened past what an agent may have put in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nullbox.cage.sandbox import shares
from nullbox.cage.vmplan import Share


def share(data: Path, path: str, *, read_only: bool = False) -> Share:
    return Share("data0", str(data) + path.removeprefix("/data"), "/grants/0", path, read_only)


def identity(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_dev, found.st_ino


def test_a_folder_that_nobody_has_written_to_is_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    found = identity(shares.opened(share(data, "/data/a/b/c")))
    made = (data / "a" / "b" / "c").stat()
    assert found == (made.st_dev, made.st_ino)
    assert stat.S_IMODE(made.st_mode) == shares.SHARED
    assert stat.S_IMODE((data / "a" / "b").stat().st_mode) == 0o755
    os.close(shares.opened(share(data, "/data/read", read_only=True)))
    assert stat.S_IMODE((data / "read").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["/data/out/way", "/data/out/way/below", "/data/out/way/../../x"])
def test_a_link_of_an_agent_leads_nowhere(tmp_path: Path, path: str) -> None:
    """`chmod` and the mount once followed it: another agent's grant below it would have shown any folder of the host,
    for all to write to."""
    data, host = tmp_path / "data", tmp_path / "host"
    (data / "out").mkdir(parents=True)
    (host / "below").mkdir(parents=True)
    (data / "out" / "way").symlink_to(host)
    before = host.stat().st_mode, (host / "below").stat().st_mode
    with pytest.raises(OSError, match="/data/out/way"):
        shares.opened(share(data, path))
    assert (host.stat().st_mode, (host / "below").stat().st_mode) == before
    assert sorted(each.name for each in host.iterdir()) == ["below"]


@pytest.mark.parametrize("make", [lambda path: path.write_text(""), lambda path: os.mkfifo(path)], ids=["file", "fifo"])
def test_what_is_no_folder_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    data = tmp_path / "data"
    (data / "out").mkdir(parents=True)
    make(data / "out" / "x")
    with pytest.raises(NotADirectoryError):
        shares.opened(share(data, "/data/out/x"))


def test_the_agents_own_folder_is_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    own = Share("agent", str(tmp_path / "link"), "/agent", "/agent", True)
    found = tmp_path.stat()
    assert identity(shares.opened(own)) == (found.st_dev, found.st_ino)
