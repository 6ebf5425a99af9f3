"""nullctl against a real gateway: what its verbs do, and the exit codes."""

from __future__ import annotations

import io
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway_system import System, running

from nullbox.cli import nullctl
from nullbox.gateway.methods import METHODS
from nullbox.protocols.errors import ErrorCode


def test_the_output_option_works_on_both_sides_of_the_verb(shared: System, run: Any) -> None:
    before, after = run(shared, "-o", "json", "agent", "list"), run(shared, "agent", "list", "-o", "json")
    assert before.out == after.out
    assert json.loads(after.out)[0]["name"] == "pulse"


def test_stats_without_a_name_are_those_of_all_agents(system: System, run: Any) -> None:
    system.backend.set("cage:reader", state="stopped", pid=None)
    one = json.loads(run(system, "agent", "stats", "pulse", "-o", "json").out)
    found = json.loads(run(system, "agent", "stats", "-o", "json").out)
    assert [(each["name"], each["stats"]) for each in found] == [("pulse", one["stats"]), ("reader", None)]
    assert run(system, "agent", "stats", "-o", "name").out == "pulse\nreader\n"
    title, pulse, reader = run(system, "agent", "stats").out.splitlines()
    assert title.split()[:4] == ["NAME", "STATE", "CPU", "TIME"]
    assert pulse.split()[:5] == ["pulse", "running", "1.5s", "64.0", "MiB"]
    assert reader.split() == ["reader", "stopped", *"-" * 8]


def test_an_operators_hour(system: System, run: Any) -> None:
    for verb, state in [("pause", "paused"), ("resume", "running"), ("stop", "stopped"), ("start", "running")]:
        result = run(system, "agent", verb, "pulse")
        assert (result.code, result.out, result.err) == (0, f"pulse: {state}\n", "")
        assert f"pulse   {state}" in run(system, "agent", "list").out
    assert run(system, "agent", "restart", "pulse", "reader").out == "pulse: running\nreader: running\n"
    assert run(system, "ctx", "write", "notes.a", '{"b": 1}').code == 0
    assert run(system, "ctx", "write", "notes.a", "hello", "--string").code == 0
    assert [entry["value"] for entry in system.written] == [{"b": 1}, "hello"]
    assert run(system, "power", "off").out == "turning off\n"


def test_deploying_and_removing(system: System, run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\nrestart = "sometimes"\n')
    result = run(system, "agent", "validate", str(folder))
    assert result.code == 2
    assert "agent.restart" in result.err
    assert run(system, "agent", "deploy", str(folder)).code == 2
    (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
    assert run(system, "agent", "validate", str(folder / "AGENT.toml")).code == 0
    assert run(system, "agent", "deploy", str(folder)).out == "fresh 0.0.0: running\n"
    assert run(system, "agent", "deploy", str(folder)).code == 1
    assert run(system, "agent", "deploy", str(folder), "--replace").code == 0
    assert "fresh" in run(system, "agent", "list").out
    assert run(system, "agent", "remove", "fresh").out == "fresh: removed\n"
    assert run(system, "agent", "validate", str(tmp_path / "none.toml")).code == 3


def test_exit_codes(system: System, run: Any, tmp_path: Path) -> None:
    result = run(system, "agent", "stop", "puls")
    assert (result.code, result.out) == (3, "")
    assert result.err == "nullctl: no agent 'puls'; did you mean 'pulse'?; there are: pulse, reader\n"
    assert run(system, "agent", "resume", "pulse").code == 6
    assert run(system, "agent", "inspect", "Pulse!").code == 2
    assert run(system, "agent", "wait", "pulse", "--for", "paused", "--timeout", "50ms").code == 124
    assert run(system, "ctx", "read", "0" * 64).code == 3
    assert run(system, "ctx", "write", "a", "{").code == 2
    assert run(system, "agent", "stop", "nobody", "pulse").code == 3
    assert run(system, "agent", "inspect", "pulse").out.splitlines()[1] == "state: stopped"
    system.socket = str(tmp_path / "none.sock")
    result = run(system, "status")
    assert result.code == 5
    assert "is nulld running" in result.err


def test_a_refusal_exits_with_4(run: Any) -> None:
    from nullbox.gateway.memory import MemoryBackend
    from nullbox.gateway.service import GatewayService

    with running() as system:
        strangers = system.layout.run / "strangers.sock"
        service = GatewayService(MemoryBackend(), system.layout, {"operators": {"uids": []}, "socket": str(strangers)})
        service.start()
        system.socket = str(strangers)
        result = run(system, "status")
        service.stop()
    assert result.code == 4
    assert "nulld.toml grants it" in result.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["agnet"], "did you mean 'agent'"),
        (["agent", "rusume", "pulse"], "did you mean 'resume'"),
        (["agent", "list", "--nope"], "No such option"),
        (["agent", "stop"], "Missing argument"),
        (["agent", "wait", "pulse", "--timeout", "soon"], "write 90, 30s"),
        (["-o", "xml", "status"], "xml"),
        (["zzzzzz"], "there are: status"),
    ],
)
def test_usage_errors_exit_with_2(shared: System, run: Any, args: list[str], says: str) -> None:
    result = run(shared, *args)
    assert (result.code, result.out) == (2, "")
    assert says in result.err


def test_version_works_without_a_daemon(run: Any, system: System, tmp_path: Path) -> None:
    system.socket = str(tmp_path / "none.sock")
    result = run(system, "version")
    assert (result.code, result.out) == (0, "nullctl  0.1.0\n")
    assert "no daemon" in result.err


def test_help_names_every_verb_that_is_there_and_no_other(run: Any, shared: System, verbs: set[str]) -> None:
    methods = {name.replace(".", " ") for name in METHODS}
    # In the protocol, and of no use at a prompt.
    extra = {"rpc discover"}
    assert {name.replace("_", "-") for name in methods - extra} <= verbs
    for later in ("swarm", "snapshot", "llm", "secret"):
        assert later not in run(shared, "--help").out


def test_a_proof_is_checked_here_and_a_wrong_root_is_not_believed(shared: System, run: Any) -> None:
    proved = run(shared, "-o", "json", "ctx", "prove", "0" * 63 + "2")
    assert json.loads(proved.out)["checked"] is True
    for words in (["prove", "2", "--root", "0" * 64], ["prove", "2", "--size", "2"], ["consistency", "3", "0" * 64]):
        result = run(shared, "ctx", *words)
        assert (result.code, result.out) == (1, "")
        assert "NOT proved" in result.err
    assert run(shared, "ctx", "prove", "what").code == 2


def test_a_destructive_verb_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch, system: System, run: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(system, "power", "off").code == 130
    assert not [message for _, message in system.backend.asked if type(message).__name__ == "PowerCommand"]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(system, "power", "off").code == 0
    assert run(system, "power", "reboot", "--yes").code == 0


def test_every_code_has_its_exit_code() -> None:
    from nullbox.cli.nullctl import report
    from nullbox.protocols.errors import NullBoxError
    from nullbox.rpc.client import Unreachable

    codes = {code.value: report(NullBoxError(code, "x")) for code in ErrorCode}
    assert codes == {
        "not_found": 3,
        "wrong_state": 6,
        "invalid": 2,
        "denied": 4,
        "timeout": 124,
        "unavailable": 1,
        "conflict": 1,
        "too_large": 4,
        "internal": 1,
    }
    assert report(Unreachable("x")) == 5


def test_a_reset_is_said_in_full_and_refused_where_nothing_lasts(system: System, run: Any) -> None:
    assert run(system, "power", "reset", "--yes").code == 2
    asked = run(system, "power", "reset", "--state")
    assert asked.code == 2
    assert "--yes" in asked.err
    refused = run(system, "power", "reset", "--state", "--yes")
    assert refused.code == 6
    assert "no STATE partition" in refused.err


def test_a_server_that_answers_nonsense_is_an_error_and_not_a_traceback(tmp_path: Path, run: Any) -> None:
    path = tmp_path / "s.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def serve() -> None:
        for answer in (b"nonsense\n", b"[]\n", b"", b'{"jsonrpc":"2.0","id":1,"result":[]}\n'):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    codes = []
    for _ in range(4):
        codes.append(nullctl.run(["--socket", str(path), "status"]))
    thread.join(10)
    listener.close()
    assert codes == [2, 2, 5, 1]
