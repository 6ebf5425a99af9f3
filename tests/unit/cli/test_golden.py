"""What each verb of nullctl prints in each format.

Golden outputs are in tests/golden/nullctl; `NULLBOX_UPDATE_GOLDEN=1` writes them anew, to be read before a commit.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_system import System

from nullbox.cli.context import FORMATS

GOLDEN = Path(__file__).parents[2] / "golden" / "nullctl"
SAMPLE = Path(__file__).parents[3] / "agents" / "pulse"
LOG = Path(__file__).parents[2] / "support" / "log.jsonl"

VERBS = [
    ("status",),
    ("tree",),
    ("agent", "list"),
    ("agent", "inspect", "pulse"),
    ("agent", "stats", "pulse"),
    ("agent", "wait", "pulse"),
    ("agent", "logs", "pulse"),
    ("events",),
    ("ctx", "query", "pulse."),
    ("ctx", "history", "pulse.count"),
    ("ctx", "read", "0" * 63 + "1"),
    ("ctx", "latest", "pulse.count"),
    ("ctx", "agents"),
    ("ctx", "watch", "pulse."),
    ("ctx", "status"),
    ("ctx", "search", "red"),
    ("ctx", "by-agent", "pulse"),
    ("ctx", "graph", "0" * 63 + "3"),
    ("ctx", "root"),
    ("ctx", "prove", "2"),
    ("ctx", "consistency", "0", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("ctx", "verify"),
    ("ctx", "export", "pulse."),
    ("agent", "validate", str(SAMPLE)),
    ("egress", "rules", "pulse"),
    ("egress", "explain", "pulse", "example.com:8443"),
    ("egress", "log"),
    ("egress", "flush-dns", "pulse"),
    ("egress", "learn", "pulse"),
    ("version",),
]
CHANGES = [
    ("agent", "start", "reader"),
    ("agent", "stop", "pulse"),
    ("agent", "restart", "pulse", "reader"),
    ("agent", "pause", "pulse"),
    ("agent", "resume", "reader"),
    ("agent", "deploy", str(SAMPLE), "--replace"),
    ("agent", "remove", "fresh", "--yes"),
    ("ctx", "write", "notes.a", "1"),
    ("ctx", "import", str(LOG)),
    ("ctx", "delete", "notes.a", "--yes"),
    ("ctx", "erase", "0" * 63 + "1", "--yes"),
    ("power", "off", "--yes"),
    ("power", "reboot", "--yes"),
    ("power", "reset", "--state", "--yes"),
]
"""Verbs that change something, each in a system of its own. `reader` is prepared so that each makes sense."""
NAMELESS = {
    ("egress", "rules", "pulse"),
    ("egress", "explain", "pulse", "example.com:8443"),
    ("egress", "learn", "pulse"),
    ("ctx", "status"),
    ("ctx", "verify"),
    ("version",),
    ("agent", "logs", "pulse"),
}
NO_FORMATS = {("ctx", "export", "pulse.")}
"""JSON Lines whatever is asked for."""
LINES = {("events",), ("agent", "logs", "pulse"), ("ctx", "watch", "pulse."), ("egress", "log")}


def steady(text: str) -> str:
    """The output with what belongs to this machine and moment replaced."""
    text = text.replace(str(SAMPLE), "FOLDER")
    text = re.sub(r'("?uptime_s"?: )[0-9.]+', r"\1UPTIME", text)
    text = re.sub(r'("?kernel"?: )"?[0-9][^\s",]*"?', r"\1KERNEL", text)
    text = re.sub(r"kernel [0-9][^\s)]*", "kernel KERNEL", text)
    text = re.sub(r'("?python"?: )"?[0-9.]+"?', r"\1PYTHON", text)
    text = re.sub(r"(uptime +)\S+", r"\1UPTIME", text)
    text = re.sub(r"krun: (each agent.*); .*", r"krun: \1; ACCELERATION", text)
    text = re.sub(r'"?kvm"?: \w+(,?\s+)"?extension"?: [^\s,]+(,?\s+)"?emulated_cpu"?: \w+', "ACCELERATION", text)
    text = re.sub(r'("?(?:total|used)_mib"?: )[0-9]+', r"\1MIB", text)
    text = re.sub(r".*boot .*boot_id.*", "BOOT", text)
    text = re.sub(r"---\nseq: 1\n(.*\n)*?(?=---)", "BOOT\n", text)
    text = re.sub(r'.*"kind":"boot".*', "BOOT", text)
    return re.sub(r'("?age_s"?: )[0-9.]+', r"\1AGE", text)


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_golden(shared: System, run: Any, verb: tuple[str, ...], output: str) -> None:
    result = run(shared, "-o", output, *verb)
    if output == "name" and verb in NAMELESS:
        assert result.code == 2
        assert "no names" in result.err
        return
    assert (result.code, result.err) == (0, "")
    if output == "json":
        for text in result.out.splitlines() if verb in LINES | NO_FORMATS else [result.out]:
            json.loads(text)
    if output == "yaml" and verb not in NO_FORMATS:
        assert list(yaml.safe_load_all(result.out))
    compare(verb, output, result.out)


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("verb", CHANGES, ids=lambda verb: " ".join(verb[:2]))
def test_golden_of_changes(system: System, run: Any, verb: tuple[str, ...], output: str, tmp_path: Path) -> None:
    if verb[1] == "start":
        system.backend.set("cage:reader", state="stopped", pid=None)
    if verb[1] == "resume":
        system.backend.set("cage:reader", state="paused")
    if verb[1] == "reset":
        system.layout.state_record.parent.mkdir(parents=True, exist_ok=True)
        system.layout.state_record.write_text('{"kind": "disk", "device": "/dev/vdb1", "detail": "is sound"}')
    if verb[1] == "remove":
        folder = tmp_path / "fresh"
        folder.mkdir()
        (folder / "main.py").write_text("")
        (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
        assert run(system, "agent", "deploy", str(folder)).code == 0
    result = run(system, "-o", output, *verb)
    assert (result.code, result.err) == (0, "")
    compare(verb, output, result.out)


def compare(verb: tuple[str, ...], output: str, out: str) -> None:
    """What was printed beside what is written down; and no control character ever reaches a terminal."""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)
    grouped = verb[0] in ("agent", "ctx", "egress", "power")
    path = GOLDEN / f"{'-'.join(verb[:2]).rstrip('.') if grouped else verb[0]}.{output}"
    if os.environ.get("NULLBOX_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(steady(out))
    assert steady(out) == path.read_text()


def test_every_verb_has_a_golden_output(verbs: set[str]) -> None:
    """But those of a shell and a screen, and doctor, whose machine is made up: see test_doctor.py and test_top.py."""
    elsewhere = {"completion", "top", "doctor"}
    seen = {
        " ".join(verb[:2]) if verb[0] in ("agent", "ctx", "egress", "power") else verb[0] for verb in VERBS + CHANGES
    }
    assert verbs - elsewhere == seen
