#!/usr/bin/python3.13 -IS
"""PID 1 of a machine under test: the product's own, and beside it a child that does what the test says.

The test image has this as /sbin/saboteur; a machine runs it with `init=/sbin/saboteur`, and a virtio-serial port of the
name below. A line `SIGNAL PID` is answered with `sent`, and a line `memory PID` with the process's mappings as JSON; or
either with what went wrong.
"""

import json
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
        verb, pid = line.split()
        if verb == b"memory":
            with open(f"/proc/{int(pid)}/smaps") as file:
                return json.dumps(mappings(file))
        os.kill(int(pid), int(verb))
    except (ValueError, OSError) as error:
        return str(error)
    return "sent"


def mappings(smaps):
    """What proc_pid_smaps(5) says of each mapping: KiB in all, KiB private and dirty, rights, file."""
    found = []
    for line in smaps:
        first, *rest = line.split()
        if not first.endswith(":"):
            found.append([0, 0, rest[0], " ".join(rest[4:])])
        elif first == "Size:":
            found[-1][0] = int(rest[0])
        elif first == "Private_Dirty:":
            found[-1][1] = int(rest[0])
    return found


if __name__ == "__main__":
    main()
