"""Deploying: folders arrive whole or not at all, nothing is written outside, and what fails is taken back."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from gateway_system import System, running
from hypothesis import given
from hypothesis import strategies as st

from nullbox.client import Nulld
from nullbox.gateway.deploy import Deployments, checked_path
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.upload import PART, files_of, parts

MANIFEST = '[agent]\nname = "{name}"\nversion = "{version}"\nruntime = "python"\n'


def write_agent(folder: Path, name: str = "fresh", version: str = "1.0.0", **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "AGENT.toml").write_text(MANIFEST.format(name=name, version=version))
    (folder / "main.py").write_text("print('hello')\n")
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return folder


def tree_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(nulld: Nulld, folder: Path, **how: Any) -> NullBoxError:
    with pytest.raises(NullBoxError) as caught:
        nulld.agent_deploy(folder, **how)
    return caught.value


@pytest.fixture
def system() -> Any:
    with running() as system:
        yield system


@pytest.fixture
def nulld(system: System) -> Any:
    with Nulld(system.socket) as nulld:
        yield nulld


def hidden(layout: Layout) -> list[str]:
    return [path.name for path in layout.deployed_agents.glob(".*")]


def test_a_folder_arrives_whole(system: System, nulld: Nulld, tmp_path: Path) -> None:
    folder = write_agent(tmp_path / "a", data=os.urandom(2 * PART + 12345), empty=b"", exact=bytes(PART))
    (folder / "lib" / "deep").mkdir(parents=True)
    (folder / "lib" / "deep" / "module.py").write_text("x = 1\n")
    (folder / "main.py").chmod(0o755)
    (folder / "lib" / "__pycache__").mkdir()
    (folder / "lib" / "__pycache__" / "module.pyc").write_text("left out")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("left out")
    (folder / "link").symlink_to("/etc/passwd")
    seen: list[tuple[int, int]] = []
    answer = nulld.agent_deploy(folder, progress=lambda sent, total: seen.append((sent, total)))
    assert answer["name"] == "fresh"
    assert answer["state"] == "running"
    place = system.layout.deployed_agents / "fresh"
    expected = {p: d for p, d in tree_of(folder).items() if p != "link" and "__pycache__" not in p and ".git" not in p}
    assert tree_of(place) == expected
    assert place.stat().st_mode & 0o777 == 0o755
    assert (place / "main.py").stat().st_mode & 0o777 == 0o755
    assert (place / "data").stat().st_mode & 0o777 == 0o644
    assert len(seen) >= 3
    assert seen[-1][0] == seen[-1][1]
    assert hidden(system.layout) == []
    assert any(each["name"] == "fresh" for each in nulld.agent_list())


def test_an_agent_is_replaced_only_on_request(system: System, nulld: Nulld, tmp_path: Path) -> None:
    nulld.agent_deploy(write_agent(tmp_path / "a", old=b"old"))
    newer = write_agent(tmp_path / "b", version="2.0.0", new=b"new")
    error = refusal(nulld, newer)
    assert (error.code, "--replace" in error.message) == (ErrorCode.CONFLICT, True)
    assert (system.layout.deployed_agents / "fresh" / "old").exists()
    assert nulld.agent_deploy(newer, replace=True)["version"] == "2.0.0"
    assert tree_of(system.layout.deployed_agents / "fresh") == tree_of(newer)
    assert hidden(system.layout) == []


def test_what_the_supervisor_refuses_is_taken_back(system: System, nulld: Nulld, tmp_path: Path) -> None:
    system.backend.refuse.add("cage:fresh")
    assert refusal(nulld, write_agent(tmp_path / "a")).code is ErrorCode.INVALID
    assert not (system.layout.deployed_agents / "fresh").exists()
    system.backend.refuse.clear()
    first = write_agent(tmp_path / "a", old=b"old")
    nulld.agent_deploy(first)
    system.backend.refuse.add("cage:fresh")
    assert refusal(nulld, write_agent(tmp_path / "b", new=b"new"), replace=True).code is ErrorCode.INVALID
    assert tree_of(system.layout.deployed_agents / "fresh") == tree_of(first)
    assert hidden(system.layout) == []


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("[agent]\nname = 'Fresh'\nrestart = 'sometimes'\n", "agent.name"),
        ("[agent]\nname = 'fresh'\nentrypoint = ['missing.py']\nruntime = 'python'\n", "no file 'missing.py'"),
        ("not toml", ""),
    ],
)
def test_a_bad_manifest_is_refused_with_all_that_is_wrong(
    system: System, nulld: Nulld, tmp_path: Path, manifest: str, says: str
) -> None:
    folder = write_agent(tmp_path / "a")
    (folder / "AGENT.toml").write_text(manifest)
    error = refusal(nulld, folder)
    assert error.code is ErrorCode.INVALID
    assert says in error.message
    assert list(system.layout.deployed_agents.iterdir()) == []


def test_a_folder_without_a_manifest_is_not_sent(nulld: Nulld, tmp_path: Path) -> None:
    assert "no AGENT.toml" in refusal(nulld, tmp_path).message
    assert refusal(nulld, tmp_path / "none").code is ErrorCode.NOT_FOUND


BAD_PATHS = [
    "",
    "/etc/passwd",
    "../up",
    "a/../../b",
    "a//b",
    ".",
    "a/./b",
    "a\0b",
    "a\nb",
    "/".join("a" * 20),
    "x" * 300,
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_nothing_is_written_outside(system: System, nulld: Nulld, path: str) -> None:
    data = base64.b64encode(b"evil").decode()
    with pytest.raises(NullBoxError) as caught:
        nulld.call("agent.deploy", upload="a" * 16, files=[{"path": path, "data": data}])
    assert caught.value.code is ErrorCode.INVALID
    assert [path for path in system.layout.deployed_agents.rglob("*") if path.is_file()] == []


@given(st.text(max_size=40))
def test_a_path_that_passes_stays_inside(text: str) -> None:
    try:
        path = checked_path(text)
    except NullBoxError:
        return
    inside = os.path.normpath(Path("/base") / path)
    assert inside.startswith("/base/")
    assert inside == f"/base/{path}"


@pytest.mark.parametrize(
    "item",
    [
        7,
        {"path": "a", "data": "%%%"},
        {"path": "a", "data": 7},
        {"path": "a", "data": "", "offset": -1},
        {"path": "a", "data": "", "offset": 1 << 40},
        {"path": 7, "data": ""},
    ],
)
def test_other_nonsense_is_invalid_and_drops_the_upload(system: System, nulld: Nulld, item: Any) -> None:
    nulld.call("agent.deploy", upload="a" * 16, files=[{"path": "kept", "data": ""}])
    with pytest.raises(NullBoxError) as caught:
        nulld.call("agent.deploy", upload="a" * 16, files=[item])
    assert caught.value.code is ErrorCode.INVALID
    assert hidden(system.layout) == []


def test_a_file_where_a_folder_is_refused(system: System, nulld: Nulld) -> None:
    nulld.call("agent.deploy", upload="a" * 16, files=[{"path": "a/b", "data": ""}])
    with pytest.raises(NullBoxError):
        nulld.call("agent.deploy", upload="a" * 16, files=[{"path": "a", "data": ""}])
    nulld.call("agent.deploy", upload="a" * 16, files=[{"path": "a", "data": ""}])
    with pytest.raises(NullBoxError):
        nulld.call("agent.deploy", upload="a" * 16, files=[{"path": "a/b", "data": ""}])


def test_too_much_is_too_large(system: System, nulld: Nulld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nullbox.gateway.deploy.MOST_BYTES", 1000)
    assert refusal(nulld, write_agent(tmp_path / "a", big=bytes(2000))).code is ErrorCode.TOO_LARGE
    assert hidden(system.layout) == []


def test_removing(system: System, nulld: Nulld, tmp_path: Path) -> None:
    nulld.agent_deploy(write_agent(tmp_path / "a"))
    assert nulld.agent_remove("fresh") == {"name": "fresh", "state": "removed"}
    assert list(system.layout.deployed_agents.iterdir()) == []
    with pytest.raises(NullBoxError) as caught:
        nulld.agent_remove("fresh")
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(NullBoxError, match="part of the image") as caught:
        nulld.agent_remove("pulse")
    assert caught.value.code is ErrorCode.DENIED


def test_an_agent_of_the_image_comes_back_when_its_replacement_goes(
    system: System, nulld: Nulld, tmp_path: Path
) -> None:
    write_agent(system.layout.bundled_agents / "pulse", name="pulse")
    mine = write_agent(tmp_path / "a", name="pulse", version="9.0.0")
    assert refusal(nulld, mine).code is ErrorCode.CONFLICT
    nulld.agent_deploy(mine, replace=True)
    assert nulld.agent_remove("pulse") == {"name": "pulse", "state": "running", "bundled": True}


def test_leftovers_of_a_crash_are_cleaned(tmp_path: Path) -> None:
    layout = Layout(state=tmp_path)
    agents = layout.deployed_agents
    write_agent(agents / ".upload-aaaaaaaa")
    write_agent(agents / ".old-half", name="half")
    write_agent(agents / ".old-done", name="done")
    write_agent(agents / "done", name="done", version="2.0.0")
    Deployments(layout).clean()
    assert sorted(path.name for path in agents.iterdir()) == ["done", "half"]
    assert "2.0.0" in (agents / "done" / "AGENT.toml").read_text()


def test_parts_fit_a_message(tmp_path: Path) -> None:
    folder = write_agent(tmp_path / "a", data=os.urandom(3 * PART))
    for number in range(3000):
        (folder / f"file-{number}").write_bytes(b"")
    import json

    made = [part for part, _, _ in parts(folder)]
    assert all(len(json.dumps(part)) < 1_000_000 for part in made)
    assert [part["last"] for part in made] == [False] * (len(made) - 1) + [True]
    assert {item["path"] for part in made for item in part["files"]} == {
        path.relative_to(folder).as_posix() for path in files_of(folder)
    }


def test_changes_are_on_record_with_who_made_them(system: System, nulld: Nulld, tmp_path: Path) -> None:
    nulld.agent_deploy(write_agent(tmp_path / "a", data=os.urandom(2 * PART)))
    with pytest.raises(NullBoxError):
        nulld.agent_start("pulse")
    commands = [event for event in nulld.events()["events"] if event["kind"] == "command"]
    assert [(event["method"], event["result"], event["uid"]) for event in commands] == [
        ("agent.deploy", "done", os.getuid()),
        ("agent.start", "wrong_state", os.getuid()),
    ]
    assert nulld.events()["events"][0]["kind"] == "boot"
