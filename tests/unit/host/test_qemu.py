"""The command line of a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nullbox.host.qemu import GATEWAY_PORT, Machine, argv

MACHINE = Machine(Path("/b/bzImage"), Path("/b/root.squashfs"), Path("/r/console.log"), Path("/r/gateway.sock"))


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def values(command: list[str], option: str) -> list[str]:
    return [command[n + 1] for n, word in enumerate(command) if word == option]


def test_emulation_and_kvm() -> None:
    assert value(argv(MACHINE), "-accel") == "tcg,thread=multi"
    assert value(argv(MACHINE), "-cpu") == "max"
    assert value(argv(replace(MACHINE, kvm=True)), "-accel") == "kvm"
    assert value(argv(replace(MACHINE, kvm=True)), "-cpu") == "host"


def test_the_root_is_read_only_twice_and_the_first_disk() -> None:
    command = argv(replace(MACHINE, state=Path("/b/state")))
    root, state = values(command, "-drive")
    assert root == "file=/b/root.squashfs,format=raw,if=none,id=root,readonly=on"
    assert state == "file=/b/state,format=raw,if=none,id=state,cache=none"
    words = value(command, "-append").split()
    assert {"ro", "root=/dev/vda", "rootfstype=squashfs"} <= set(words)


def test_the_gateways_port_has_the_name_that_the_machine_looks_for() -> None:
    assert f"virtserialport,chardev=gateway,id=gateway,name={GATEWAY_PORT}" in argv(MACHINE)


def test_nothing_is_attached_that_was_not_asked_for() -> None:
    command = argv(MACHINE)
    assert "-nodefaults" in command
    assert "-no-reboot" in command
    for word in ("-netdev", "-mon", "-action"):
        assert word not in command


def test_the_network_leads_nowhere() -> None:
    assert value(argv(replace(MACHINE, network=True)), "-netdev") == "user,id=uplink,restrict=on"


def test_the_watchdog_resets_the_machine() -> None:
    assert value(argv(replace(MACHINE, watchdog=True)), "-action") == "watchdog=reset"


def test_emulated_processors_share_one_reliable_clock_and_real_ones_have_their_own() -> None:
    assert "tsc=reliable" in value(argv(MACHINE), "-append").split()
    assert "tsc=reliable" not in value(argv(replace(MACHINE, kvm=True)), "-append").split()


def test_an_emulated_machine_has_one_processor_unless_asked_for_more() -> None:
    assert value(argv(MACHINE), "-smp") == "1"
    assert value(argv(replace(MACHINE, kvm=True)), "-smp") == "2"
    assert value(argv(replace(MACHINE, cpus=3)), "-smp") == "3"


def test_more_kernel_arguments_come_last() -> None:
    assert value(argv(replace(MACHINE, append=("a=1", "b"))), "-append").endswith(" a=1 b")


def test_commas_in_paths_are_doubled() -> None:
    command = argv(replace(MACHINE, root=Path("/b,c/root")))
    assert values(command, "-drive")[0].startswith("file=/b,,c/root,")
