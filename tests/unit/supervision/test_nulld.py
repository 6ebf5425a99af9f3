"""The launcher and the root, with real processes and harmless children."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.supervision.nulld import check_driver

SUPPORT = Path(__file__).parents[2] / "support"
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(120)


class Nulld:
    """A `nulld` whose PID 1 is this test."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.errors = ""
        self.reader, writer = os.pipe()
        environment = {
            **os.environ,
            **variables,
            "PYTHONPATH": f"{ROOT}:{SUPPORT}",
            "NULLD_HEARTBEAT_FD": str(writer),
        }
        self.process = subprocess.Popen(
            [sys.executable, SUPPORT / "supervision_nulld.py", *(folder / d for d in ("run", "var", "system"))],
            env=environment,
            pass_fds=[writer],
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writer)

    def read(self, seconds: float = 20.0) -> bytes:
        """What comes next through the pipe; empty at its end."""
        ready, _, _ = select.select([self.reader], [], [], seconds)
        assert ready, "no sign of life"
        return os.read(self.reader, 4096)

    def until_healthy(self) -> None:
        """Until it says that all services run."""
        end = time.monotonic() + 20
        while b"+" not in self.read():
            assert time.monotonic() < end, "it never was healthy"

    def actors(self) -> dict[str, int]:
        """Name → pid of its descendants, as the processes call themselves."""
        found: dict[str, int] = {}
        pending = [self.process.pid]
        while pending:
            pid = pending.pop(0)
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                continue
            for child in children:
                pending.append(int(child))
                # Nearest first: a process just forked still bears its parent's name.
                found.setdefault(Path(f"/proc/{child}/comm").read_text().strip(), int(child))
        return found

    def until_actors(self, *names: str) -> dict[str, int]:
        end = time.monotonic() + 20
        while True:
            actors = self.actors()
            if all(name in actors for name in names):
                return actors
            assert time.monotonic() < end, f"only {actors}"
            time.sleep(0.02)

    @staticmethod
    def left(actors: dict[str, int]) -> dict[str, str]:
        """Which of them still run. A zombie is none of ours: who reaps orphans is the test machine's business."""
        found = {}
        for name, pid in actors.items():
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":
                found[name] = state
        return found

    def until_left_alone(self, actors: dict[str, int]) -> None:
        """Until the kernel has ended those whose parent died."""
        end = time.monotonic() + 20
        while left := self.left(actors):
            assert time.monotonic() < end, f"still there: {left}"
            time.sleep(0.01)

    def said(self) -> str:
        """All it wrote to standard error, once it has ended."""
        if not self.errors and self.process.stderr is not None:
            self.errors = self.process.communicate()[1]
            self.process.stderr = None
        return self.errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.said()
        os.close(self.reader)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nb-d-") as name:  # short: it holds socket paths
        yield Path(name)


def agent(folder: Path, name: str, text: str = "") -> None:
    place = folder / "system" / "agents" / name
    place.mkdir(parents=True)
    (place / "AGENT.toml").write_text(text or f'[agent]\nname = "{name}"\n')


def test_it_lives_beats_and_ends_in_order_on_sigterm(folder: Path) -> None:
    agent(folder, "pulse")
    agent(folder, "broken", '[agent]\nname = "other"\n')
    nulld = Nulld(folder)
    try:
        assert nulld.read() in (b".", b"+")
        actors = nulld.until_actors("egress", "ctxgraph", "gateway", "cage:pulse")
        assert "cage:broken" not in actors
        nulld.until_healthy()
        nulld.process.send_signal(signal.SIGTERM)
        assert nulld.process.wait(20) == 0
        assert not nulld.left(actors)
    finally:
        nulld.close()


def test_the_death_of_the_root_ends_everything_with_status_70(folder: Path) -> None:
    nulld = Nulld(folder)
    try:
        assert nulld.read() in (b".", b"+")
        actors = nulld.until_actors("egress", "ctxgraph", "gateway", "nulld")
        os.kill(actors["nulld"], signal.SIGKILL)
        assert nulld.process.wait(20) == 70
        assert not nulld.left(actors)
    finally:
        nulld.close()


def test_a_root_that_gives_up_ends_it_with_status_70(folder: Path) -> None:
    (folder / "system" / "config").mkdir(parents=True)
    (folder / "system" / "config" / "nulld.toml").write_text(
        '[supervision]\nmax_restarts = 1\n[service.ctxgraph]\nbackoff = { initial = "10ms", max = "10ms" }\n'
    )
    nulld = Nulld(folder)
    try:
        first = nulld.until_actors("ctxgraph")["ctxgraph"]
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 20
        while (second := nulld.actors().get("ctxgraph", first)) == first:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(second, signal.SIGKILL)
        assert nulld.process.wait(20) == 70
        assert "ctxgraph: more than 1 restarts" in nulld.said()
    finally:
        nulld.close()


def test_a_failing_launcher_takes_the_actors_with_it_but_asks_nobody_to_stop(folder: Path) -> None:
    """A cage that is asked to stop ends its VM. An error up here is no reason to."""
    agent(folder, "pulse")
    stops = folder / "stops"
    nulld = Nulld(folder, SUPERVISION_TEST_LAUNCHER="fails", SUPERVISION_TEST_STOPS=str(stops))
    try:
        assert nulld.process.wait(20) == 70
        assert "as the test asked" in nulld.said()
        assert not stops.exists()
    finally:
        nulld.close()


def test_a_root_that_gives_up_says_so_to_the_cages(folder: Path) -> None:
    agent(folder, "pulse")
    (folder / "system" / "config").mkdir(parents=True)
    (folder / "system" / "config" / "nulld.toml").write_text("[supervision]\nmax_restarts = 0\n")
    stops = folder / "stops"
    nulld = Nulld(folder, SUPERVISION_TEST_STOPS=str(stops))
    try:
        actors = nulld.until_actors("gateway", "cage:pulse")
        assert nulld.read()
        os.kill(actors["gateway"], signal.SIGKILL)
        assert nulld.process.wait(20) == 70
        said = dict(line.split() for line in stops.read_text().splitlines())
        assert said == dict.fromkeys(("cage:pulse", "egress", "ctxgraph"), "escalation")
    finally:
        nulld.close()


def test_no_heartbeat_while_the_root_is_stopped(folder: Path) -> None:
    nulld = Nulld(folder)
    try:
        assert nulld.read() in (b".", b"+")
        root = nulld.until_actors("nulld")["nulld"]
        os.kill(root, signal.SIGSTOP)
        said = b""
        end = time.monotonic() + 6.0
        while select.select([nulld.reader], [], [], max(0.0, end - time.monotonic()))[0]:
            said += nulld.read()
        assert len(said) <= 1, "three beats are due; only an answer that was under way may come"
        os.kill(root, signal.SIGCONT)
        assert nulld.read()[:1] in (b".", b"+")
    finally:
        nulld.close()


@pytest.mark.parametrize("verb", ["off", "reboot"])
def test_power_is_passed_to_pid_1_and_ends_it_in_order(folder: Path, verb: str) -> None:
    nulld = Nulld(folder, SUPERVISION_TEST_POWER=verb)
    try:
        said = b""
        while chunk := nulld.read():
            said += chunk
        assert said.translate(None, b".+") == verb.encode() + b"\n"
        assert nulld.process.wait(20) == 0
    finally:
        nulld.close()


def test_a_wrong_configuration_is_refused_with_every_error(folder: Path) -> None:
    (folder / "system" / "config").mkdir(parents=True)
    (folder / "system" / "config" / "nulld.toml").write_text('[supervision]\nmax_restarts = -1\n[cage]\ndriver = "x"\n')
    nulld = Nulld(folder)
    try:
        assert nulld.process.wait(20) == 2
        said = nulld.said()
        assert "supervision.max_restarts" in said and "cage.driver" in said and "krun" in said
    finally:
        nulld.close()


@pytest.mark.parametrize(
    ("asked", "configured", "allowed"),
    [
        (None, "krun", True),
        ("krun", "krun", True),
        ("process", "krun", True),
        ("process", "process", True),
        (None, "process", False),
        ("krun", "process", False),
    ],
)
def test_the_driver_without_isolation_is_never_chosen_by_a_file(
    asked: str | None, configured: str, allowed: bool
) -> None:
    if allowed:
        check_driver(asked, configured)
        return
    with pytest.raises(NullBoxError, match="--driver process") as caught:
        check_driver(asked, configured)
    assert caught.value.code is ErrorCode.DENIED


def test_it_ends_when_pid_1_has_lost_track_of_it(folder: Path) -> None:
    """A start of which PID 1 did not learn the pid once left an actor system that kept its place from the next one."""
    nulld = Nulld(folder)
    try:
        nulld.until_healthy()
        actors = nulld.until_actors("egress", "nulld")
        os.dup2(os.open(os.devnull, os.O_RDONLY), nulld.reader)
        assert nulld.process.wait(20) == 70
        nulld.until_left_alone(actors)
    finally:
        nulld.close()
