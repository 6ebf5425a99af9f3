"""Finding, loading and calling the real library. No machine is started, so any Linux host will do."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pykrun import Context, KrunError, Library, LibraryNotFound, MissingFunction
from pykrun.lib import candidates, wheel_folder


@pytest.fixture(scope="module")
def library() -> Library:
    folder = wheel_folder()
    if folder is None:
        pytest.skip("the smolmachines package is not installed")
    return Library(str(folder / "libkrun.so"))


def test_the_variable_is_the_only_candidate_when_it_is_set(tmp_path: Path) -> None:
    assert list(candidates({"PYKRUN_LIBRARY": "/x/libkrun.so"})) == ["/x/libkrun.so"]
    assert list(candidates({}))[:3] == ["libkrun.so.1", "libkrun.so.2", "libkrun.so"]
    with pytest.raises(LibraryNotFound, match=r"/none/libkrun\.so.*PYKRUN_LIBRARY"):
        Library.find({"PYKRUN_LIBRARY": "/none/libkrun.so"})
    broken = tmp_path / "libkrun.so"
    broken.write_bytes(b"this is no library" * 100)
    with pytest.raises(LibraryNotFound, match="invalid ELF header"):
        Library.find({"PYKRUN_LIBRARY": str(broken)})


def test_the_library_loads_without_its_gpu_symbols(library: Library) -> None:
    assert library.has("krun_create_ctx")
    assert not library.has("krun_set_root")
    assert library.call("krun_has_feature", 0) is True
    assert library.call("krun_check_nested_virt") in (True, False)
    assert library.last_error() is None


def test_contexts_come_and_go(library: Library) -> None:
    with Context(library) as one, Context(library) as other:
        assert one.number != other.number
        one.set_vm_config(1, 64)
        one.free()
        one.free()
        with pytest.raises(ValueError, match="freed or started"):
            one.set_vm_config(1, 64)
        with pytest.raises(ValueError, match="freed or started"):
            one.start_enter()


def test_a_whole_machine_can_be_configured(library: Library, tmp_path: Path) -> None:
    with Context(library) as vm:
        vm.set_vm_config(2, 256)
        vm.set_root(tmp_path, read_only=True)
        vm.add_share("agent", tmp_path, read_only=True)
        vm.add_vsock()
        vm.add_vsock_port(9100, tmp_path / "ctx.sock")
        vm.add_vsock_port(9101, tmp_path / "control.sock", listen=True)
        vm.add_tap("nb0", "5a:94:ef:00:00:01")
        vm.set_console_output(tmp_path / "log")
        vm.set_exec("/bin/true", ["-x"], {"A": "b"})
        vm.set_workdir("/")
        vm.set_rlimits(["7=64:64"])
        vm.setuid(65534)
        vm.setgid(65534)
    assert (tmp_path / "log").exists()


def test_refusals_carry_the_errno_and_the_call(library: Library, tmp_path: Path) -> None:
    with pytest.raises(KrunError, match=r"krun_free_ctx\(4000000000\)") as caught:
        library.call("krun_free_ctx", 4_000_000_000)
    assert caught.value.errno == errno.ENOENT
    with Context(library) as vm:
        with pytest.raises(KrunError) as caught:
            vm.set_vm_config(0, 0)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(KrunError) as caught:
            vm.add_tap("nb0", "5a:94:ef:00:00:01", features=1 << 7)
        assert caught.value.errno == errno.EINVAL
        taken = tmp_path / "taken"
        taken.touch()
        vm.add_vsock()
        with pytest.raises(KrunError) as caught:
            vm.add_vsock_port(9101, taken, listen=True)
        assert caught.value.errno == errno.EEXIST


def test_arguments_that_libkrun_must_never_see(library: Library) -> None:
    with Context(library) as vm:
        with pytest.raises(ValueError, match="vcpus is 256"):
            vm.set_vm_config(256, 64)
        with pytest.raises(ValueError, match="double quote"):
            vm.set_exec("/bin/sh", ["-c", 'echo "x"'])
        with pytest.raises(ValueError, match="double quote"):
            vm.set_exec("/bin/sh", [], {"A": '"'})
        for text in ("two\nlines", "tab\t", "é"):
            with pytest.raises(ValueError, match="printable ASCII"):
                vm.set_exec("/bin/sh", [text])


def test_a_function_that_this_build_lacks_is_named(library: Library) -> None:
    with pytest.raises(MissingFunction, match="has no krun_set_passt_fd"):
        library.call("krun_set_passt_fd", 0, 3)
    with pytest.raises(KeyError):
        library.call("krun_make_coffee")


@pytest.mark.slow  # 25 s until libkrun gives up on a device that opens and cannot run guests
def test_a_start_without_a_machine_fails_with_the_librarys_words(library: Library) -> None:
    """In a process of its own: a start that goes wrong half-way may end the process."""
    program = (
        "from pykrun import *\n"
        f"vm = Context(Library({library.path!r}))\n"
        "vm.set_vm_config(1, 64)\n"
        "try: vm.start_enter()\n"
        "except KrunError as error: print(error.function, error.errno)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["krun_start_enter", str(errno.EINVAL)] or ended.returncode != 0
