#!/usr/bin/python3.13 -IS
"""PID 1 of a machine under test: the product's own, and beside it a child that sends signals when the test says so.

The test image has this as /sbin/saboteur; a machine runs it with `init=/sbin/saboteur`, and a virtio-serial port of the
name below. A line `SIGNAL PID` is answered with `sent`, or with what went wrong.
"""

import os
import select
import sys
import time

PORT = "nullbox.test.0"
CLASS = "/sys/class/virtio-ports"


def main() -> None:
    if os.fork() == 0:
        try:
            serve(wait_for_port())
        finally:
            os._exit(1)
    sys.path.insert(0, "/system/python")
    from nullbox.bootstrap import precompiled

    precompiled.use()
    from nullbox.bootstrap import pid1

    pid1.main()


def wait_for_port() -> int:
    """PID 1 mounts /sys and /dev meanwhile."""
    while True:
        try:
            for device in os.listdir(CLASS):
                with open(f"{CLASS}/{device}/name") as name:
                    if name.read().strip() == PORT:
                        return os.open(f"/dev/{device}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass
        time.sleep(0.5)


def serve(port: int) -> None:
    """Do what the lines say, for ever."""
    poll = select.poll()
    poll.register(port, select.POLLIN)
    rest = b""
    while True:
        poll.poll()
        data = os.read(port, 4096)
        if not data:  # nobody is connected
            time.sleep(0.5)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            os.write(port, obey(line).encode() + b"\n")


def obey(line: bytes) -> str:
    try:
        number, pid = map(int, line.split())
        os.kill(pid, number)
    except (ValueError, OSError) as error:
        return str(error)
    return "sent"


if __name__ == "__main__":
    main()
