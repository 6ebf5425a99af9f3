"""The command line of a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nullbox.host.qemu import CPUINFO, GATEWAY_PORT, Firmware, Machine, argv, tsc_rate
from nullbox.host.verified import VerifiedRoot

MACHINE = Machine(Path("/b/bzImage"), Path("/b/root.squashfs"), Path("/r/console.log"), Path("/r/gateway.sock"))


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def values(command: list[str], option: str) -> list[str]:
    return [command[n + 1] for n, word in enumerate(command) if word == option]


def test_emulation_and_kvm() -> None:
    assert value(argv(MACHINE), "-accel") == "tcg,thread=multi"
    assert value(argv(MACHINE), "-cpu").split(",")[0] == "max"
    assert "-erms" in value(argv(MACHINE), "-cpu"), "a VM's end would take ten times as long"
    assert value(argv(replace(MACHINE, kvm=True)), "-accel") == "kvm"
    assert value(argv(replace(MACHINE, kvm=True)), "-cpu") == "host"


def test_the_root_is_read_only_twice_and_the_first_disk() -> None:
    command = argv(replace(MACHINE, state=Path("/b/state")))
    root, state = values(command, "-drive")
    assert root == "file=/b/root.squashfs,format=raw,if=none,id=root,readonly=on"
    assert state == "file=/b/state,format=raw,if=none,id=state,cache=none"
    words = value(command, "-append").split()
    assert {"ro", "root=/dev/vda", "rootfstype=squashfs"} <= set(words)


def test_a_verified_root_is_opened_through_its_hash_alone() -> None:
    words = value(argv(replace(MACHINE, verified=VerifiedRoot(1000, "ab" * 32))), "-append")
    assert words.startswith('dm-mod.create="root,,,ro,0 8000 verity 1 /dev/vda /dev/vda ')
    assert "root=/dev/dm-0" in words.split()
    assert "root=/dev/vda" not in words.split()


def test_firmware_finds_the_kernel_itself() -> None:
    firmware = Firmware(Path("/f/code.fd"), Path("/r/vars.fd"))
    command = argv(replace(MACHINE, kernel=None, firmware=firmware, append=("a=1,2",)))
    assert "-kernel" not in command
    assert "-append" not in command
    code, variables, disk = values(command, "-drive")
    assert code == "if=pflash,unit=0,format=raw,readonly=on,file=/f/code.fd"
    assert "readonly" not in variables
    assert "readonly" not in disk
    arguments = " ".join(("tsc=reliable", *tsc_rate(CPUINFO.read_text()), "a=1,,2"))
    assert value(command, "-smbios") == f"type=11,value=io.systemd.stub.kernel-cmdline-extra={arguments}"
    assert "-global" not in command
    assert "smm=on" in argv(replace(MACHINE, firmware=replace(firmware, secure=True)))


def test_a_cd_and_a_usb_stick_are_not_written_to() -> None:
    firmware = Firmware(Path("/f/code.fd"), Path("/r/vars.fd"))
    for medium, device in (("cdrom", "ide-cd,drive=root"), ("usb", "usb-storage,drive=root")):
        command = argv(replace(MACHINE, kernel=None, firmware=firmware, medium=medium))
        assert device in values(command, "-device")
        assert values(command, "-drive")[-1].endswith("readonly=on")


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


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("fpu tsc constant_tsc hypervisor", ("tsc_early_khz=2445404",)),
        ("fpu tsc constant_tsc aperfmperf", ()),  # what the text says is how fast the processor is now
        ("fpu tsc", ()),
    ],
)
def test_emulated_processors_are_told_the_rate_of_their_clock_if_it_is_sure(flags: str, told: tuple[str, ...]) -> None:
    assert tsc_rate(f"processor\t: 0\ncpu MHz\t\t: 2445.404\nflags\t\t: {flags}\n\n") == told
    assert tsc_rate(f"flags\t\t: {flags}\n") == ()


def test_an_emulated_machine_has_one_processor_unless_asked_for_more() -> None:
    assert value(argv(MACHINE), "-smp") == "1"
    assert value(argv(replace(MACHINE, kvm=True)), "-smp") == "2"
    assert value(argv(replace(MACHINE, cpus=3)), "-smp") == "3"


def test_more_kernel_arguments_come_last() -> None:
    assert value(argv(replace(MACHINE, append=("a=1", "b"))), "-append").endswith(" a=1 b")


def test_commas_in_paths_are_doubled() -> None:
    command = argv(replace(MACHINE, root=Path("/b,c/root")))
    assert values(command, "-drive")[0].startswith("file=/b,,c/root,")
