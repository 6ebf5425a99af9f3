"""The builder around make: cache hits, publication, failing steps. No kernel is compiled here."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernel import build as builder
from kernel import source, toolchain
from kernel.flavours import FLAVOURS, build_key, read_fragments
from kernel.progress import Progress


def quiet() -> Progress:
    return Progress(io.StringIO(), 100, time.monotonic())


@pytest.fixture
def pinned_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished build in a cache of its own, as this host's compiler would have made it."""
    monkeypatch.setattr(
        toolchain, "find", lambda compiler: toolchain.Toolchain((f"CC={compiler}",), "some compiler 1.0")
    )
    pin = source.parse_lock(source.LOCK.read_text())
    virt = FLAVOURS["virt"]
    entry = tmp_path / "cache" / build_key(pin.version, read_fragments(virt, "gcc"), "some compiler 1.0", "virt")
    entry.mkdir(parents=True)
    (entry / "bzImage").write_bytes(b"kernel")
    (entry / "config").write_text("CONFIG_SMP=y\n")
    return entry


def test_a_cache_hit_needs_no_tool_and_no_network(
    pinned_entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    output = tmp_path / "build" / "bzImage"
    started = time.monotonic()
    result = builder.build(FLAVOURS["virt"], "gcc", output, cache_dir=pinned_entry.parent, out=quiet())
    assert time.monotonic() - started < 1
    assert result.cached and result.size == 6
    assert output.read_bytes() == b"kernel"
    assert result.config.read_text() == "CONFIG_SMP=y\n"


def test_an_unchanged_output_keeps_its_time_stamp(pinned_entry: Path, tmp_path: Path) -> None:
    output = tmp_path / "bzImage"
    builder.build(FLAVOURS["virt"], "gcc", output, cache_dir=pinned_entry.parent, out=quiet())
    os.utime(output, (1, 1))
    builder.build(FLAVOURS["virt"], "gcc", output, cache_dir=pinned_entry.parent, out=quiet())
    assert output.stat().st_mtime == 1


def test_half_an_entry_is_no_hit(pinned_entry: Path) -> None:
    assert builder.is_complete(pinned_entry)
    (pinned_entry / "config").unlink()
    assert not builder.is_complete(pinned_entry)


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path) -> None:
    (tmp_path / "build-x1y2" / "linux").mkdir(parents=True)
    (tmp_path / "virt-6.12.1-1-0123456789abcdef").mkdir()
    with builder.exclusive(tmp_path, quiet()):
        assert not (tmp_path / "build-x1y2").exists()
    assert (tmp_path / "virt-6.12.1-1-0123456789abcdef").exists()


def test_a_second_build_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    hold = (
        "import sys, io, time; from pathlib import Path; from kernel.build import exclusive\n"
        "from kernel.progress import Progress\n"
        "with exclusive(Path(sys.argv[1]), Progress(io.StringIO(), 1, 0.0)):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None and other.stdout is not None
    with other:
        assert other.stdout.readline() == "held\n"

        class Released(io.StringIO):
            """Lets the other process go as soon as this one says that it waits."""

            def write(self, text: str) -> int:
                assert other.stdin is not None
                if not other.stdin.closed:
                    other.stdin.close()
                return super().write(text)

        out = Released()
        with builder.exclusive(tmp_path, Progress(out, 1, 0.0)):
            assert "waiting" in out.getvalue()


def test_a_failing_step_ends_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "print('  CC      a.o'); print('a.c:1: error: no such thing'); raise SystemExit(2)"
    progress = quiet()
    with pytest.raises(builder.BuildError, match="error: no such thing") as failure:
        builder.run_logged([sys.executable, "-c", script], dict(os.environ), log, progress)
    assert "ended with code 2" in str(failure.value) and str(log) in str(failure.value)
    assert progress.done == 1


def test_an_interrupted_step_takes_its_children_along(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; print(\"up\", flush=True); signal.pause()'],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print('child', child.pid, flush=True); child.wait()\n"
    )
    children: list[int] = []

    class Interrupting(Progress):
        def feed(self, line: str, now: float) -> None:
            if line.startswith("child "):
                children.append(os.pidfd_open(int(line.split()[1])))
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.run_logged(
            [sys.executable, "-c", script], dict(os.environ), tmp_path / "log", Interrupting(io.StringIO(), 1, 0.0)
        )
    (child,) = children
    try:
        assert select.select([child], [], [], 5)[0], "the grandchild outlived its build"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)


def test_a_step_that_somebody_paused_can_be_ended(tmp_path: Path) -> None:
    script = "import os, signal; print('pausing', os.getpid(), flush=True); os.killpg(0, signal.SIGSTOP)"

    class Interrupting(Progress):
        interval = 0.01  # type: ignore[assignment]

        def feed(self, line: str, now: float) -> None:
            self.step = line

        def tick(self, now: float) -> None:
            name, _, process = self.step.partition(" ")
            if name == "pausing" and ") T " in Path(f"/proc/{process}/stat").read_text():
                raise KeyboardInterrupt

    progress = Interrupting(io.StringIO(), 1, 0.0)
    with pytest.raises(KeyboardInterrupt):
        builder.run_logged([sys.executable, "-c", script], dict(os.environ), tmp_path / "log", progress)


def test_a_missing_compiler_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(toolchain.ToolchainError, match="libelf-dev"):
        toolchain.find("gcc")
    with pytest.raises(toolchain.ToolchainError, match="clang-19"):
        toolchain.find("clang")
