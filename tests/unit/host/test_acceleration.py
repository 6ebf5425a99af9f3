"""KVM only where it is proved; every refusal has its reason."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from nullbox.host.acceleration import (
    EXIT_STATUS,
    Choice,
    Probe,
    cpu_flags,
    decide,
    device_problem,
    probe_argv,
    probe_kernel,
    run_probe,
)

WORKS = Probe(True, "ended as expected")


def never() -> Probe:
    raise AssertionError("the probe must not run")


def test_no_device_no_kvm_and_no_probe() -> None:
    choice = decide(frozenset({"svm"}), "there is no /dev/kvm", never)
    assert choice == Choice(False, "there is no /dev/kvm")


def test_a_device_without_the_processors_flag_is_not_even_tried() -> None:
    choice = decide(frozenset({"sse2", "hypervisor"}), None, never)
    assert not choice.kvm
    assert "neither vmx nor svm" in choice.reason


def test_a_probe_that_fails_decides_against_kvm() -> None:
    choice = decide(frozenset({"vmx"}), None, lambda: Probe(False, "a probe guest did not end within 3 s"))
    assert not choice.kvm
    assert "did not end within 3 s" in choice.reason


@pytest.mark.parametrize("flag", ["vmx", "svm"])
def test_flag_device_and_probe_together_give_kvm(flag: str) -> None:
    choice = decide(frozenset({flag}), None, lambda: WORKS)
    assert choice.kvm
    assert flag in choice.reason
    assert str(choice).startswith("KVM: ")


def test_flags_are_read_from_the_first_processor() -> None:
    assert cpu_flags("processor\t: 0\nflags\t\t: fpu vmx\n\nprocessor\t: 1\nflags\t\t: fpu\n") == {"fpu", "vmx"}
    assert cpu_flags("no such line\n") == frozenset()


def test_the_probe_kernel_is_multiboot() -> None:
    magic, flags, checksum, header, load, load_end, _, entry = struct.unpack("<IIiIIIII", probe_kernel()[:32])
    assert magic == 0x1BADB002
    assert (magic + flags + checksum) & 0xFFFFFFFF == 0
    assert header == load
    assert load_end - load == len(probe_kernel())
    assert entry == load + 32


def test_the_probe_gets_the_acceleration_that_a_machine_would_get() -> None:
    argv = probe_argv("qemu", Path("/k"))
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert argv[argv.index("-cpu") + 1] == "host"


def program(folder: Path, text: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_probe_that_hangs_is_ended(tmp_path: Path) -> None:
    probe = run_probe(program(tmp_path, "exec sleep 60"), limit=0.2)
    assert probe == Probe(False, "a probe guest did not end within 0.2 s")


def test_a_probe_that_breaks_says_how(tmp_path: Path) -> None:
    probe = run_probe(program(tmp_path, "echo 'KVM internal error' >&2; exit 1"))
    assert probe == Probe(False, "a probe guest ended with 1: KVM internal error")


def test_only_the_agreed_status_counts(tmp_path: Path) -> None:
    assert not run_probe(program(tmp_path, "exit 0")).works
    assert run_probe(program(tmp_path, f"exit {EXIT_STATUS}")).works


def test_a_missing_qemu_is_said() -> None:
    assert run_probe("/nonexistent/qemu") == Probe(False, "/nonexistent/qemu is not installed")


def test_a_missing_device_is_said(tmp_path: Path) -> None:
    assert device_problem(tmp_path / "kvm") == f"there is no {tmp_path / 'kvm'}"
