"""What is read of the machine, from folders that stand in for /proc, /sys and /dev."""

from __future__ import annotations

from pathlib import Path

from nullbox.gateway import machine


def test_acceleration_needs_the_flag_and_the_device(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: QEMU TCG CPU version 2.5+\nflags\t\t: fpu sse2 svm npt\n")
    assert machine.acceleration(tmp_path, tmp_path) == {"kvm": False, "extension": "svm", "emulated_cpu": True}
    (tmp_path / "kvm").touch()
    (tmp_path / "cpuinfo").write_text("model name\t: Some CPU\nflags\t\t: fpu sse2\n")
    assert machine.acceleration(tmp_path, tmp_path) == {"kvm": True, "extension": None, "emulated_cpu": False}
    assert machine.acceleration(tmp_path / "none", tmp_path / "none")["kvm"] is False


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    for device, name in [("vport1p1", "org.other"), ("vport2p1", "nullbox.gateway.0")]:
        folder = tmp_path / "class" / "virtio-ports" / device
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
    assert machine.find_port("nullbox.gateway.0", tmp_path, Path("/dev")) == Path("/dev/vport2p1")
    assert machine.find_port("missing", tmp_path, Path("/dev")) is None
    assert machine.find_port("missing", tmp_path / "none", Path("/dev")) is None


def test_uptime(tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("12.34 20.00\n")
    assert machine.uptime(tmp_path) == 12.34
    assert machine.uptime(tmp_path / "none") is None


def test_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  2048000 kB\nMemFree: 1 kB\nMemAvailable:  1024000 kB\n\n")
    assert machine.memory(tmp_path) == {"total_mib": 2000, "used_mib": 1000}
    (tmp_path / "meminfo").write_text("MemTotal: lots\n")
    assert machine.memory(tmp_path) == {}
