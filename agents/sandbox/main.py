"""Run untrusted Python from `sandbox.run.`, and write what came of it to `sandbox.result.`, with the program as parent.

    nullctl ctx write sandbox.run.hello '{"code": "print(6 * 7)", "seconds": 5}'
    nullctl ctx latest sandbox.result.hello

What keeps the program in is the VM: it has no network grant, no files, and a memory of its own. The limits here only
keep one program from hindering the next: time, memory, size of files, number of processes, and length of the output.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nullbox_agent import ctx, log

RUN, RESULT = "sandbox.run.", "sandbox.result."
SECONDS, MOST_SECONDS = 10.0, 60.0
MEMORY = 96 << 20
FILES = 16 << 20
PROCESSES = 16
OUTPUT = 16 * 1024
"""Bytes of standard output, and of standard error, that are kept."""
NOBODY = 65534
PYTHON = sys.executable


def main() -> None:
    log("sandbox waits for programs under", RUN)
    since = max((entry["value"]["value"]["program_seq"] for entry in ctx.own(RESULT)), default=0)
    for program in ctx.watch(RUN, since_seq=since):
        if "event" not in program:
            serve(program)


def serve(program: dict[str, Any]) -> None:
    """Run one program and record the outcome."""
    name = program["key"].removeprefix(RUN)
    value = program["value"]
    code = value.get("code") if isinstance(value, dict) else None
    if isinstance(code, str):
        outcome = run(code, wanted_seconds(value.get("seconds")))
    else:
        outcome = {"outcome": "refused", "reason": 'a program is {"code": "…", "seconds": 5}'}
    ctx.write(RESULT + name, outcome | {"program_seq": program["seq"]}, parents=[program["hash"]])
    log(f"{name}: {outcome['outcome']}")


def wanted_seconds(value: Any) -> float:
    """The time that a program asks for, within what it may have."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return SECONDS
    return min(float(value), MOST_SECONDS)


def run(code: str, seconds: float) -> dict[str, Any]:
    """Run a program to its end, or to the end of its time; then end whatever it left behind."""
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder, tempfile.TemporaryFile() as out:
        Path(folder).chmod(0o777)  # the program is another user than this one
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        began = time.monotonic()
        process = subprocess.Popen(
            [PYTHON, "-I", "-c", code],
            cwd=folder,
            env={"PATH": "/usr/bin", "HOME": folder},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
            preexec_fn=lambda: confine(seconds),
        )
        try:
            status = process.wait(seconds)
            outcome = "ended" if status >= 0 else f"killed by {signal.Signals(-status).name}"
        except subprocess.TimeoutExpired:
            outcome = "out of time"
        finally:
            end_group(process)
        with errors:
            shown = {"stdout": head(out), "stderr": head(errors)}
        return {"outcome": outcome, "code": process.returncode, "seconds": round(time.monotonic() - began, 3), **shown}


def confine(seconds: float) -> None:
    """In the child, before the program: limits (setrlimit(2)), and no privileges of the launcher's."""
    limits = (
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILES),
        (resource.RLIMIT_CORE, 0),
    )
    for what, limit in limits:
        resource.setrlimit(what, (limit, limit))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        # Counts all processes of the user, so it says something only for a user that has no others.
        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children, also those that outlived it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def head(file: Any) -> str:
    """The begin of an output, as text."""
    file.seek(0)
    data = file.read(OUTPUT + 1)
    return data[:OUTPUT].decode("utf-8", "replace") + (" …" if len(data) > OUTPUT else "")


if __name__ == "__main__":
    main()
