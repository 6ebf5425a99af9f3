"""`nullctl ctx export` and `ctx import` between two real stores, each behind a gateway of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nullbox.cli import nullctl, verb_import
from nullbox.client import Nulld
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.service import GatewayService
from nullbox.protocols.layout import Layout


@contextlib.contextmanager
def machine() -> Iterator[str]:
    """A store and its gateway; the gateway's socket."""
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        layout = Layout(Path(folder) / "run", Path(folder) / "var", Path(folder) / "system")
        store = CtxgraphService()
        store.start(layout)
        gateway = GatewayService(MemoryBackend(), layout, {"operators": {"uids": [os.getuid()]}})
        gateway.start()
        try:
            yield str(layout.gateway_socket)
        finally:
            gateway.stop()
            store.stop()


@pytest.fixture(scope="module")
def old() -> Iterator[str]:
    """A machine with a log that needs several requests: many entries, and long ones that ASCII triples."""
    with machine() as socket, Nulld(socket) as nulld:
        for n in range(30):
            nulld.ctx_write(f"notes.{n % 3}", {"n": n})
        nulld.ctx_write("long", "é" * 120_000)
        nulld.ctx_erase(nulld.ctx_write("secret", "x" * 200_000)["hash"])
        nulld.ctx_delete("notes.1")
        yield socket


@pytest.fixture
def new() -> Iterator[str]:
    with machine() as socket:
        yield socket


def ask(socket: str, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = nullctl.run(["--socket", socket, *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("proofs", [(), ("--proofs",)], ids=["plain", "proofs"])
def test_a_log_moves_to_another_machine(
    old: str,
    new: str,
    proofs: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verb_import, "LINES", 7)
    code, text, _ = ask(old, "ctx", "export", *proofs, capsys=capsys)
    assert code == 0
    backup = tmp_path / "backup.jsonl"
    backup.write_text(text)
    root = json.loads(text.splitlines()[0])["root"]
    code, out, err = ask(new, "ctx", "import", str(backup), "--root", root, capsys=capsys)
    assert (code, out, err) == (0, f"restored: 34 records, 0 were there; the log has 34, root {root}\n", "")
    assert ask(new, "ctx", "export", *proofs, capsys=capsys)[1] == text
    again = json.loads(ask(new, "ctx", "import", str(backup), "-o", "json", capsys=capsys)[1])
    assert again == {"added": 0, "present": 34, "size": 34, "root": root}
    with Nulld(new) as nulld:
        assert nulld.ctx_verify()["ok"]
        nulld.ctx_write("after", 1)
    code, out, err = ask(new, "ctx", "import", str(backup), capsys=capsys)
    assert (code, "0 records, 34 were there; the log has 35" in out, err) == (0, True, "")


def test_an_empty_log_is_one(new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup = tmp_path / "backup.jsonl"
    backup.write_text(ask(new, "ctx", "export", capsys=capsys)[1])
    assert ask(new, "ctx", "import", str(backup), capsys=capsys)[0] == 0


def test_a_pipe_will_do(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = ask(old, "ctx", "export", capsys=capsys)[1]
    command = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()", "--socket", new]
    done = subprocess.run([*command, "ctx", "import", "-"], input=text, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "restored: 34 records" in done.stdout


def test_what_cannot_be_restored_changes_nothing(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ask(old, "ctx", "export", capsys=capsys)[1]
    backup = tmp_path / "backup.jsonl"
    backup.write_text(text.replace('"value":{"n":29}', '"value":{"n":92}'))
    code, _, err = ask(new, "ctx", "import", str(backup), capsys=capsys)
    assert (code, "record 30: its value hashes to" in err) == (2, True)
    backup.write_text(ask(old, "ctx", "export", "notes.", "--proofs", capsys=capsys)[1])
    code, _, err = ask(new, "ctx", "import", str(backup), capsys=capsys)
    assert (code, "no whole log" in err) == (2, True)
    backup.write_text(text)
    code, _, err = ask(new, "ctx", "import", str(backup), "--root", "0" * 64, capsys=capsys)
    assert (code, "another log" in err) == (1, True)
    with Nulld(new) as nulld:
        assert nulld.ctx_root()["size"] == 0
        nulld.ctx_write("mine", 1)
    code, _, err = ask(new, "ctx", "import", str(backup), capsys=capsys)
    assert (code, "a log of its own" in err) == (1, True)
    assert ask(new, "ctx", "import", str(tmp_path / "none"), capsys=capsys)[0] == 2
