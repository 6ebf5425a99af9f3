"""The gateway in a real tree of real actors, in a network namespace without a way out: what an operator meets when
actors die, hang and come back. There are no VMs here; the boot tests have them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.client import NullBoxError, Nulld, Unreachable
from nullbox.protocols.errors import ErrorCode
from nullbox.protocols.layout import Layout

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a network namespace"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare"),
]
LONG = 60.0


def eventually(look: Callable[[], Any], seconds: float = LONG) -> Any:
    """The first true value; failures of the daemon count as false."""
    until = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
            last: object = found
        except NullBoxError as error:
            last = error
        assert time.monotonic() < until, last
        time.sleep(0.05)


class System:
    """nulld with its services."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder / "run", folder / "var", folder / "system")
        (folder / "system").mkdir()
        self.log = folder / "log"
        arguments = [f"--run={folder / 'run'}", f"--state={folder / 'var'}", f"--system={folder / 'system'}"]
        program = [sys.executable, "-c", "from nullbox.supervision.nulld import main; main()", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(["unshare", "-n", *program], stdout=log, stderr=log)
        self.nulld = Nulld(self.layout.gateway_socket, timeout=20.0)
        try:
            eventually(lambda: self.nulld.status()["healthy"])
        except BaseException:
            self.close()
            raise

    def pid(self, name: str) -> int:
        """0 while it has no process."""
        return int(next(node for node in self.nulld.tree() if node["id"] == name)["pid"] or 0)

    def nullctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]
        socket = ["--socket", str(self.layout.gateway_socket)]
        return subprocess.run([*program, *socket, *args], capture_output=True, text=True, timeout=LONG)

    def close(self) -> None:
        self.nulld.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


@pytest.fixture
def system() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        system = System(Path(folder))
        try:
            yield system
        except BaseException:
            print(system.log.read_text()[-4000:])
            raise
        finally:
            system.close()


def test_the_gateway_comes_back_and_the_journal_goes_on(system: System) -> None:
    before = system.nulld.events()
    assert before["events"][0]["kind"] == "boot"
    killed = system.pid("gateway")
    os.kill(killed, signal.SIGKILL)

    def back() -> bool:
        node = next(node for node in system.nulld.tree() if node["id"] == "gateway")
        return node["pid"] != killed and node["state"] == "running" and node["restarts_total"] == 1

    eventually(back)
    exit_event = eventually(
        lambda: [e for e in system.nulld.events()["events"] if e["kind"] == "exit" and e["child"] == "gateway"]
    )[0]
    assert exit_event["reason"] == "signal"
    after = system.nulld.events()["events"]
    assert after[: len(before["events"])] == before["events"]
    assert [event["seq"] for event in after] == list(range(1, len(after) + 1))
    assert sum(event["kind"] == "boot" for event in after) == 1


def test_status_answers_whatever_is_down(system: System) -> None:
    """Each actor in turn is stopped or killed; the time is taken beside that of `version`, which asks nobody."""

    def took(ask: Callable[[], Any]) -> float:
        begin = time.monotonic()
        ask()
        return time.monotonic() - begin

    idle = max(took(system.nulld.version) for _ in range(5))
    for name in ("egress", "ctxgraph", "nulld"):
        pid = system.pid(name)
        system.nulld.status()
        os.kill(pid, signal.SIGSTOP)
        try:
            spent = min(took(system.nulld.status) for _ in range(3))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert spent < 0.2 + 5 * idle, name
    os.kill(system.pid("ctxgraph"), signal.SIGKILL)
    assert took(system.nulld.status) < 0.2 + 5 * idle
    eventually(lambda: system.nulld.status()["healthy"])


def test_a_store_that_is_down_is_unavailable_and_found_again(system: System) -> None:
    system.nulld.ctx_write("notes.a", 1)
    os.kill(system.pid("ctxgraph"), signal.SIGKILL)
    with pytest.raises(NullBoxError) as caught:
        for _ in range(100):
            system.nulld.ctx_latest("notes.a")
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert eventually(lambda: system.nulld.ctx_latest("notes.a"))["value"] == 1


def test_an_actor_that_hangs_is_a_timeout_or_a_restart_and_never_a_hang(system: System) -> None:
    pid = system.pid("egress")
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(NullBoxError) as caught:
        system.nulld.egress_rules()
    assert caught.value.code in (ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE)
    assert time.monotonic() - begin < 30
    eventually(lambda: system.pid("egress") not in (0, pid), 90)  # its heartbeat is missed


def test_an_agent_that_cannot_start_is_shown_with_the_reason(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "main.py").write_text("print('hello')\n")
    (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
    done = system.nullctl("agent", "deploy", str(folder), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "fresh"

    def fresh() -> dict[str, Any]:
        return next(each for each in system.nulld.agent_list() if each["name"] == "fresh")

    # Without libkrun in this system's folder no VM can be made, whatever the machine.
    eventually(lambda: fresh()["last_exit"])
    assert fresh()["last_exit"]["kind"] == "failed"
    assert system.nullctl("agent", "pause", "fresh").returncode == 6
    assert "not started" in system.nullctl("agent", "logs", "fresh").stdout
    eventually(lambda: fresh()["restarts_total"] >= 2)
    assert system.nullctl("agent", "stop", "fresh").returncode in (0, 6)  # 6: it has failed for good meanwhile
    assert fresh()["state"] in ("stopped", "failed")
    assert system.nullctl("agent", "remove", "fresh").returncode == 0
    assert system.nulld.agent_list() == []
    assert list(system.layout.deployed_agents.iterdir()) == []
    commands = [event["method"] for event in system.nulld.events()["events"] if event["kind"] == "command"]
    assert commands == ["agent.deploy", "agent.pause", "agent.stop", "agent.remove"]


def test_power_off_ends_it_all(system: System) -> None:
    assert system.nullctl("power", "off").stdout == "turning off\n"
    assert system.process.wait(60) == 0
    with pytest.raises(Unreachable):
        system.nulld.status()
    assert not system.layout.gateway_socket.exists()
