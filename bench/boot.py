"""From power-on to a healthy tree, beside the same kernel with a static C `init` that prints and powers off, in one
run.

    python -m bench.boot [--quick] [--rounds 7] [--json FILE]

Both run in the same QEMU with the same acceleration and memory, and take turns; the median of each counts. Power-on
is the start of QEMU. The tree is healthy when the machine's console says so; the baseline is done when QEMU has ended.
What the phases of PID 1 take is shown beside it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.command import argument_parser, finish
from nullbox.host import acceleration, qemu, verified
from nullbox.host.qemu import Machine

BUILD = Path(__file__).resolve().parent.parent / "build"
MUST = {"healthy_to_baseline": ("<=", 2.2, "")}
PHASE = re.compile(r"boot phase (\w+): \d+ tasks in (\d+\.\d{3}) s")
HEALTHY = re.compile(r"nullbox \| NullBox \S+ is healthy")
DEADLINE = 180.0
ROUNDS = 3
"""At most: a round takes half a minute where the machine is emulated."""

INIT = r"""
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
int main(void) { puts("hello"); fflush(stdout); sync(); return reboot(RB_POWER_OFF); }
"""


def baseline_root(folder: Path) -> Path:
    """A SquashFS with nothing but the C program as /sbin/init, and the mount point that the kernel wants."""
    root = folder / "root"
    for name in ("sbin", "dev"):
        (root / name).mkdir(parents=True)
    (folder / "init.c").write_text(INIT)
    subprocess.run(["gcc", "-static", "-O2", "-o", root / "sbin/init", folder / "init.c"], check=True)
    image = folder / "baseline.squashfs"
    subprocess.run(["mksquashfs", root, image, "-comp", "zstd", "-all-root", "-quiet", "-no-progress"], check=True)
    return image


def timed(machine: Machine, done: Callable[[subprocess.Popen[bytes]], bool]) -> float:
    """Seconds from the start of QEMU until it is done; then QEMU is ended."""
    machine.console.write_text("")
    began = time.monotonic()
    process = subprocess.Popen(qemu.argv(machine), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not done(process):
            if time.monotonic() > began + DEADLINE:
                raise TimeoutError(f"not done after {DEADLINE:.0f} s:\n{machine.console.read_text()[-2000:]}")
            time.sleep(0.01)
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    choice = acceleration.choose(qemu.BINARY)
    print(f"acceleration: {choice}", flush=True)
    image = BUILD / "bare.squashfs"
    ours = Machine(
        BUILD / "bzImage",
        image,
        folder / "console",
        folder / "gateway.sock",
        kvm=choice.kvm,
        verified=verified.read(image),
    )
    base = replace(ours, root=baseline_root(folder), verified=None)
    sides: dict[str, tuple[Machine, Callable[[subprocess.Popen[bytes]], bool]]] = {
        "baseline": (base, lambda process: process.poll() is not None),
        "healthy": (ours, lambda process: bool(HEALTHY.search(ours.console.read_text(errors="replace")))),
    }
    took: dict[str, list[float]] = {name: [] for name in sides}
    phases: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, (machine, done) in sides.items():
            took[name].append(timed(machine, done))
            print(f"{name}: {took[name][-1]:.2f} s", flush=True)
        for phase, seconds in PHASE.findall(ours.console.read_text(errors="replace")):
            phases.setdefault(f"phase_{phase}_s", []).append(float(seconds))
    ratios = [ours / theirs for ours, theirs in zip(took["healthy"], took["baseline"], strict=True)]
    found = {"baseline_s": took["baseline"], "healthy_s": took["healthy"], "healthy_to_baseline": ratios}
    return found | phases


def main() -> int:
    parser = argument_parser(__doc__)
    options = parser.parse_args()
    rounds = 1 if options.quick else min(options.rounds, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="nullbox-bench-boot-") as folder:
        found = measure(rounds, Path(folder))
    return finish(MUST, found, options.json)


if __name__ == "__main__":
    sys.exit(main())
