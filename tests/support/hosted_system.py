"""One `nullbox up --driver process` on this host, as a person runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nullbox.client import NullBoxError, Nulld
from nullbox.host.hosted import Hosted

NULLBOX = [sys.executable, "-m", "nullbox.cli.nullbox"]
NULLCTL = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]
LONG = 90.0


def eventually(look: Callable[[], Any], what: str, seconds: float = LONG) -> Any:
    """The first true value; what the daemon refuses counts as false."""
    until = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
            last: object = found
        except (NullBoxError, OSError) as error:
            last = error
        assert time.monotonic() < until, f"{what}: {last}"
        time.sleep(0.05)


class Up:
    """One `nullbox up`."""

    def __init__(self, folder: Path, agents: Path, *options: str) -> None:
        self.hosted = Hosted(folder / "state", "process", agents)
        self.output = folder / "output"
        argv = [*NULLBOX, "up", "--driver", "process", "--state", str(self.hosted.state), "--agents", str(agents)]
        with self.output.open("w") as output:
            self.process = subprocess.Popen([*argv, *options], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        self.nulld = Nulld(self.hosted.socket, timeout=30.0)

    def ready(self, seconds: float = LONG) -> Up:
        eventually(self.is_ready, "nullbox up is not ready", seconds)
        return self

    def is_ready(self) -> bool:
        said = self.output.read_text()
        assert self.process.poll() is None, said
        return "Ctrl-C stops it" in said

    @property
    def first(self) -> int:
        """PID 1 of the instance, as the host sees it."""
        [pid] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def nullctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [*NULLCTL, "--socket", str(self.hosted.socket), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LONG)

    def ok(self, *words: str) -> str:
        done = self.nullctl(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until_running(self, *names: str) -> None:
        eventually(lambda: all(self.agent(name)["state"] == "running" for name in names), f"{names} do not all run")

    def agent(self, name: str) -> dict[str, Any]:
        return next(each for each in self.nulld.agent_list() if each["name"] == name)

    def log(self, name: str) -> str:
        return "\n".join(line["text"] for line in self.nulld.agent_logs(name))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.nulld.close()
        self.process.send_signal(number)
        return self.process.wait(LONG)

    def close(self) -> None:
        self.nulld.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LONG)
            finally:
                self.process.kill()

    def trouble(self) -> str:
        parts = [self.output.read_text()]
        for path in sorted(self.hosted.log.parent.glob("*.log")):
            parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(parts)
