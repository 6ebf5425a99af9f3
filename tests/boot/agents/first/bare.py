"""The baseline of bench/cage.py: a bare libkrun runner, with nothing of NullBox but pykrun.

`init=/usr/bin/python3.13 -- -I bare.py ROUNDS` makes this PID 1 for a moment: it starts the agent beside it in a VM
of its own, ROUNDS times, says on the console how long each took to its first line, and becomes the test image's init.
`bare.py vm` is the runner: same root, same agent program, same memory; no network, no vsock, no jail, no launcher.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
CODE, LIBRARY, ROOT = "/system/python", "/system/lib", "/system/guest"
MOUNTS = (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp"))
FIRST = b"first: begins"
PROGRAM = (
    "import ctypes; ctypes.CDLL(None).mount(b'agent', b'/agent', b'virtiofs', 1, None); "
    "exec(open('/agent/main.py').read())"
)
EMULATED = {"nohz": "off", "highres": "off"}
"""As for every guest on an emulated processor (nullbox/cage/plan.py)."""


def vm() -> None:
    """Become the VM."""
    sys.path.insert(0, CODE)
    from pykrun import Context, Library

    with open("/proc/cpuinfo") as file:
        emulated = "QEMU" in file.read()
    context = Context(Library(f"{LIBRARY}/libkrun.so"))
    context.set_vm_config(1, 96)
    context.set_root(ROOT, read_only=True)
    context.add_share("agent", FOLDER, read_only=True)
    context.add_console(0, 1, 2)
    environment = {"PATH": "/usr/bin", "HOME": "/tmp", **(EMULATED if emulated else {})}
    context.set_exec("/usr/bin/python3", ["-c", PROGRAM], environment)
    context.start_enter()


def once() -> float:
    """Seconds from the start of a runner to the agent's first line."""
    begun = time.monotonic()
    runner = subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", __file__, "vm"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"LD_LIBRARY_PATH": LIBRARY, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert runner.stdout is not None
    said = b""
    while FIRST not in said:
        data = os.read(runner.stdout.fileno(), 4096)
        if not data:
            print("bare: no first line:", said[-2000:], flush=True)
            break
        said += data
    took = time.monotonic() - begun
    runner.stdout.close()
    runner.kill()
    runner.wait()
    return took


def main() -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    for kind, place in MOUNTS:
        libc.mount(b"none", place.encode(), kind.encode(), 0, None)
    for _ in range(int(sys.argv[1])):
        print(f"bare: {once():.3f} s", flush=True)
    for _, place in reversed(MOUNTS):
        libc.umount2(place.encode(), 2)
    os.execv("/sbin/saboteur", ["/sbin/saboteur"])


if __name__ == "__main__":
    vm() if sys.argv[1:] == ["vm"] else main()
