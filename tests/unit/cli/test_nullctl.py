"""nullctl against a real gateway: what each verb prints in each format, and the exit codes.

Golden outputs are in tests/golden/nullctl; `NULLBOX_UPDATE_GOLDEN=1` writes them anew, to be read before a commit.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from gateway_system import System, running

from nullbox.cli import nullctl
from nullbox.cli.context import FORMATS
from nullbox.client import Nulld
from nullbox.gateway.methods import METHODS
from nullbox.protocols.errors import ErrorCode

GOLDEN = Path(__file__).parents[2] / "golden" / "nullctl"
SAMPLE = Path(__file__).parents[3] / "agents" / "pulse"
LOG = Path(__file__).parents[2] / "support" / "log.jsonl"
BINARY = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    with running() as system:
        system.layout.agent_log("pulse").parent.mkdir(parents=True, exist_ok=True)
        system.layout.agent_log("pulse").write_text(
            "2026-11-24T17:00:00.000Z hello\n2026-11-24T17:00:01.000Z \\x1b[2J and\ttab\n"
        )
        system.backend.record("started", "cage:pulse", incarnation=1)
        system.backend.record("exit", "cage:reader", reason="failed", code=3, traceback="long\nlong")
        with Nulld(system.socket) as nulld:
            collected = nulld.events_follow()
            while next(collected)["kind"] != "exit":
                pass
            system.backend.denials.append(
                {
                    "agent": "pulse",
                    "kind": "unlisted name",
                    "name": "evil.example",
                    "address": "",
                    "protocol": "",
                    "port": 0,
                    "reason": "no line allows it",
                    "count": 3,
                    "first": 1000.0,
                    "last": 1002.0,
                    "seq": 3,
                }
            )
            while next(collected)["kind"] != "denied":
                pass
        yield system


@pytest.fixture
def system() -> Iterator[System]:
    with running() as system:
        yield system


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def go(system: System, *args: str) -> Result:
        code = nullctl.run(["--socket", system.socket, *args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return go


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


def test_every_verb_has_a_golden_output() -> None:
    """But those of a shell and a screen, and doctor, whose machine is made up: see test_doctor.py and test_top.py."""
    elsewhere = {"completion", "top", "doctor"}
    seen = {
        " ".join(verb[:2]) if verb[0] in ("agent", "ctx", "egress", "power") else verb[0] for verb in VERBS + CHANGES
    }
    assert set(walk(nullctl.cli)) - elsewhere == seen


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


def test_help_names_every_verb_that_is_there_and_no_other(run: Any, shared: System) -> None:
    verbs = set(walk(nullctl.cli))
    methods = {name.replace(".", " ") for name in METHODS}
    # In the protocol, and of no use at a prompt.
    extra = {"rpc discover"}
    assert {name.replace("_", "-") for name in methods - extra} <= verbs
    for later in ("swarm", "snapshot", "llm", "secret"):
        assert later not in run(shared, "--help").out


def walk(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.help, f"{path}{name} has no help"
        if isinstance(command, click.Group):
            yield from walk(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


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


# --- as a process -------------------------------------------------------------------------------------------


def test_following_as_a_process_and_interrupting_it(system: System) -> None:
    system.backend.record("started", "cage:pulse")
    process = subprocess.Popen(
        [*BINARY, "--socket", system.socket, "events", "-f", "-o", "json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["kind"] for _ in range(2)] == ["boot", "started"]
    system.backend.record("exit", "cage:pulse")
    assert json.loads(process.stdout.readline())["kind"] == "exit"
    process.send_signal(2)
    assert process.wait(20) == 130


def test_a_reader_that_has_enough_is_no_error_message(system: System) -> None:
    path = system.layout.agent_log("pulse")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2026-11-24T17:00:00.000Z line\n" * 50_000)
    process = subprocess.Popen(
        [*BINARY, "--socket", system.socket, "agent", "logs", "pulse"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "line\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(20) != 0


def test_the_environment_names_the_socket(system: System) -> None:
    found = subprocess.run(
        [*BINARY, "agent", "list", "-o", "name"],
        env={**os.environ, "NULLD_SOCKET": system.socket},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout == "pulse\nreader\n"
    assert "\x1b" not in found.stdout


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


def test_a_deployment_shows_its_progress_on_a_terminal_and_nowhere_else(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
    (folder / "main.py").write_text("#" * 2_000_000)
    argv = [*BINARY, "--socket", system.socket, "agent", "deploy", str(folder)]
    quiet = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    near, far = pty.openpty()
    shown = subprocess.run([*argv, "--replace"], stdout=subprocess.PIPE, stderr=far, text=True, timeout=60)
    os.close(far)
    said = os.read(near, 65536).decode()
    os.close(near)
    assert shown.stdout == "fresh 0.0.0: running\n"
    steps = re.findall(r"\rsent (\d+) of (\d+) KiB", said)
    assert len(steps) > 2
    assert steps[-1] == (steps[-1][1], steps[-1][1])
    assert said.endswith("KiB\r\n")
