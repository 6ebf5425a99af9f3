"""nullctl doctor: findings, exit code, and an archive without secrets."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from gateway_system import System, running

from nullbox.cli import nullctl
from nullbox.cli.bundle import HIDDEN, redact
from nullbox.cli.context import FORMATS
from nullbox.gateway import serve_doctor

GOLDEN = Path(__file__).parents[2] / "golden" / "nullctl"


@pytest.fixture
def system() -> Any:
    with running() as system:
        yield system


def run(system: System, *args: str) -> int:
    return nullctl.run(["--socket", system.socket, "doctor", *args])


def test_findings_and_exit_code(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    run(system)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok    daemon      nulld 0.1.0 answers")
    assert any(line.startswith("ok    services    all run") for line in lines)
    system.backend.set("egress", state="failed")
    assert run(system, "-o", "json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["healthy"] is False
    assert next(each for each in answer["findings"] if each["check"] == "services")["state"] == "failure"


@pytest.mark.parametrize("output", FORMATS)
def test_golden(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    """One finding of each kind, from a machine that is made up."""
    tree = system.backend.nodes

    async def facts(core: object) -> dict[str, Any]:
        return {
            "tree": tree,
            "driver": "krun",
            "acceleration": {"kvm": True, "extension": "svm", "emulated_cpu": True},
            "controllers": ["memory"],
            "egress": None,
            "ctxgraph": None,
            "memory": {"used_mib": 500, "total_mib": 2000},
            "state_dir": "/var",
            "disk_free": 50 << 20,
            "disk_total": 1000 << 20,
            "now": 1_795_539_600.0,
        }

    monkeypatch.setattr(serve_doctor, "facts", facts)
    assert run(system, "-o", output) == 1
    out = capsys.readouterr().out
    path = GOLDEN / f"doctor.{output}"
    if os.environ.get("NULLBOX_UPDATE_GOLDEN"):
        path.write_text(out)
    assert out == path.read_text()


def test_no_daemon_is_a_finding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nullctl.run(["--socket", str(tmp_path / "none.sock"), "doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL  daemon")
    assert "--socket" in out


def test_the_archive_holds_states_and_no_secrets(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.layout.agent_log("pulse").parent.mkdir(parents=True, exist_ok=True)
    system.layout.agent_log("pulse").write_text("2026-11-24T17:00:00.000Z hunter2\n")
    system.backend.set("cage:pulse", detail={"api_key": "hunter2", "note": "uses sk-abcdefghijklmnop123"})
    path = tmp_path / "support.tar.gz"
    run(system, "--bundle", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        names = archive.getnames()
        text = "".join((archive.extractfile(name) or pytest.fail(name)).read().decode() for name in names)
    for name in ("status", "tree", "events", "doctor", "agent-pulse", "egress-rules"):
        assert f"nullbox-support/{name}.json" in names
    assert "hunter2" not in text
    assert "sk-abc" not in text
    assert "pulse" in text
    capsys.readouterr()
    assert run(system, "--bundle", str(path)) == 1
    assert "there already" in capsys.readouterr().err


def test_redaction() -> None:
    found = redact(
        {"password": "x", "credential_refs": [], "nested": [{"Auth_Token": 7, "name": "AKIAIOSFODNN7EXAMPLE"}], "n": 1}
    )
    assert found == {
        "password": HIDDEN,
        "credential_refs": [],
        "nested": [{"Auth_Token": HIDDEN, "name": HIDDEN}],
        "n": 1,
    }


def test_a_secret_in_the_middle_of_a_text_is_taken_out() -> None:
    for text in ("login with password=hunter2 failed", "Authorization: Bearer hunter2", '{"api_key": "hunter2"}'):
        assert "hunter2" not in redact({"line": text})["line"]
    harmless = "the token bucket is empty; see https://example.com/a:b"
    assert redact([harmless]) == [harmless]
