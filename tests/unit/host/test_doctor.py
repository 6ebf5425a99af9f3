"""nullbox doctor: each thing that can be missing is found, with what to do; and the command as it is called."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from nullbox.cli.nullbox import main
from nullbox.host import doctor, doctor_facts
from nullbox.host.doctor import HostFacts

WELL = HostFacts(
    kvm=True,
    acceleration="KVM: a probe guest ran",
    kvm_readable=True,
    qemu=(7, 2),
    python=(3, 11),
    root=True,
    cgroup_root="/sys/fs/cgroup",
    controllers=("cpu", "io", "memory", "pids"),
    namespaces=doctor.NAMESPACES,
    tun=True,
    nftables=None,
    missing=(),
    kernel_built=True,
    image_built=True,
    build="/home/me/nullbox/build",
    disk_free=20 * doctor.GIB,
    memory_available_mib=8000,
    socket="/home/me/nullbox/build/run/nulld.sock",
    machine="answers",
    now=1_800_000_000.0,
)


def states(facts: HostFacts) -> dict[str, str]:
    return {finding.check: finding.state for finding in doctor.examine(facts)}


def test_a_host_that_has_everything_is_well() -> None:
    assert set(states(WELL).values()) == {"ok"}


@pytest.mark.parametrize(
    ("change", "check", "state"),
    [
        ({"kvm": False, "acceleration": "the processor shows neither vmx nor svm"}, "virtualization", "warning"),
        ({"qemu": None}, "qemu", "failure"),
        ({"qemu": (6, 2)}, "qemu", "failure"),
        ({"python": (3, 10)}, "python", "failure"),
        ({"missing": ("bc", "flex")}, "packages", "warning"),
        ({"image_built": False}, "build", "warning"),
        ({"root": False}, "permissions", "warning"),
        ({"namespaces": ("pid", "net", "mnt")}, "namespaces", "failure"),
        ({"cgroup_root": None}, "cgroups", "warning"),
        ({"controllers": ("pids",)}, "cgroups", "warning"),
        ({"nftables": "libnftables.so.1: cannot open"}, "nftables", "warning"),
        ({"tun": False}, "tun", "warning"),
        ({"disk_free": 100 << 20}, "disk", "failure"),
        ({"disk_free": 2 << 30, "kernel_built": False}, "disk", "warning"),
        ({"memory_available_mib": 900}, "memory", "warning"),
        ({"now": 1_000_000_000.0}, "clock", "failure"),
        ({"newest_file": 1_900_000_000.0}, "clock", "failure"),
        ({"machine": "refused"}, "socket", "warning"),
        ({"socket": "/" + "x" * 120}, "socket", "failure"),
    ],
)
def test_what_is_missing_is_found_and_comes_with_advice(change: dict[str, object], check: str, state: str) -> None:
    findings = doctor.examine(replace(WELL, **change))  # type: ignore[arg-type]
    wrong = {finding.check: finding for finding in findings if finding.state != "ok"}
    assert {name: each.state for name, each in wrong.items() if name != "build" or check == "build"} == {check: state}
    assert all(each.advice for each in wrong.values())


def test_a_device_that_may_not_be_opened_is_a_matter_of_groups() -> None:
    facts = replace(WELL, kvm=False, kvm_readable=False, acceleration="/dev/kvm does not open: Permission denied")
    assert "usermod -aG kvm" in doctor.virtualization(facts).advice


def test_qemu_says_its_version() -> None:
    assert doctor_facts.qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n") == (7, 2)
    assert doctor_facts.qemu_version("") is None


def test_the_command_looks_at_this_very_host(tmp_path: Path) -> None:
    run = tmp_path / "build" / "run"
    run.mkdir(parents=True)
    (run / "console.log").write_text("boot\ncredential_token=hunter2\n")
    archive = tmp_path / "support.tar.gz"
    options = ["doctor", "-o", "json", "--build", str(tmp_path / "build"), "--bundle", str(archive)]
    result = CliRunner().invoke(main, options)
    answer = json.loads(result.stdout)
    assert [each["check"] for each in answer["findings"]] == [check.__name__ for check in doctor.CHECKS]
    assert result.exit_code == (0 if answer["healthy"] else 1)
    with tarfile.open(archive) as found:
        texts = {name: (found.extractfile(name) or pytest.fail(name)).read().decode() for name in found.getnames()}
    assert set(texts) == {f"nullbox-support/{name}.json" for name in ("host-doctor", "facts", "versions", "console")}
    assert "hunter2" not in "".join(texts.values())
    table = CliRunner().invoke(main, ["doctor", "--build", str(tmp_path / "build")]).stdout
    assert "WARN  build " in table
    assert "-> make kernel image" in table
    assert "credential" not in table
