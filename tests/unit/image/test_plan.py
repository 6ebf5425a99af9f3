"""From tables to entries, and what the tables must not contradict."""

from __future__ import annotations

import ctypes
import subprocess
import tomllib
from pathlib import Path

import pytest

from image import contents
from image.build import input_key, up_to_date
from image.contents import DISTRIBUTIONS, LIBRARIES
from image.plan import Entry, PlanError, certificate_bundle, host_modules, module_name, our_entry, with_folders
from image.sources import Unpacked, pip_arguments
from image.stage import drop_debug_information
from image.variants import RELEASE, VARIANTS
from nullbox.host.verified import beside

REPOSITORY = Path(__file__).resolve().parents[3]


def test_pins_are_those_of_the_project() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.split("==")
        for line in [*declared["dependencies"], *declared["optional-dependencies"]["dev"]]
        if "==" in line
    )
    for item in DISTRIBUTIONS:
        if item.name in pins:
            assert item.version == pins[item.name], item.name


def test_every_distribution_is_pinned_by_hash_and_says_why() -> None:
    for item in DISTRIBUTIONS:
        assert len(item.sha256) == 64 and int(item.sha256, 16) >= 0, item.name
        assert item.why, item.name


def test_every_library_is_in_a_tree_and_listed_once() -> None:
    assert len({library.soname for library in LIBRARIES}) == len(LIBRARIES)
    assert all(library.host or library.guest for library in LIBRARIES)


def test_every_exclusion_says_why() -> None:
    for table in (contents.HOST_EXCLUDED, contents.GUEST_EXCLUDED, contents.HOST_STDLIB_ROOTS):
        assert all(table.values())


def test_a_wheel_is_asked_for_the_images_python_and_a_source_is_not() -> None:
    wheel = next(item for item in DISTRIBUTIONS if not item.sdist)
    source = next(item for item in DISTRIBUTIONS if item.sdist)
    assert "--only-binary" in pip_arguments(wheel, Path("r"), Path("t"))
    assert "313" in pip_arguments(wheel, Path("r"), Path("t"))
    assert "--no-binary" in pip_arguments(source, Path("r"), Path("t"))
    assert "--require-hashes" in pip_arguments(source, Path("r"), Path("t"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("json/__init__.py", "json"),
        ("json/decoder.py", "json.decoder"),
        ("os.py", "os"),
        ("_ssl.cpython-313-x86_64-linux-gnu.so", "_ssl"),
    ],
)
def test_module_names(path: str, name: str) -> None:
    assert module_name(path) == name


def test_folders_are_added_above_what_they_hold() -> None:
    planned = with_folders([Entry("a/b/c", "text", "t"), Entry("a", "folder", "t", 0o700)])
    assert [(entry.path, entry.kind, entry.mode) for entry in planned] == [
        ("a", "folder", 0o700),
        ("a/b", "folder", 0o755),
        ("a/b/c", "text", 0o644),
    ]


def test_two_origins_of_one_path_are_refused() -> None:
    with pytest.raises(PlanError, match="/a has two origins: x and y"):
        with_folders([Entry("a", "text", "x"), Entry("a", "text", "y")])


def test_nothing_lies_below_a_link_or_a_file() -> None:
    with pytest.raises(PlanError, match="/bin/x lies below /bin, which is a link"):
        with_folders([Entry("bin", "link", "x", text="usr/bin"), Entry("bin/x", "text", "y")])


def test_our_modules_keep_their_source_and_others_do_not(tmp_path: Path) -> None:
    stdlib, wheel, ours = (tmp_path / name for name in ("stdlib", "wheel", "ours"))
    modules = {
        "os": f"{stdlib}/os.py",
        "_x": f"{stdlib}/lib-dynload/_x.so",
        "lib": f"{wheel}/lib/__init__.py",
        "nullbox.a": f"{ours}/nullbox/a.py",
        "sys": "",
    }
    origins = {"os.py": "debian:p=1", "lib-dynload/_x.so": "debian:p=1"}
    found = {e.path: e for e in host_modules(modules, stdlib, origins, ours, [Unpacked(wheel, "pypi:w==1")])}
    assert sorted(found) == [
        "system/python/lib/__init__.pyc",
        "system/python/nullbox/__pycache__/a.cpython-313.pyc",
        "system/python/nullbox/a.py",
        "usr/lib/python3.13/lib-dynload/_x.so",
        "usr/lib/python3.13/os.pyc",
    ]
    assert found["usr/lib/python3.13/os.pyc"].text == "/usr/lib/python3.13/os.py"
    assert found["usr/lib/python3.13/os.pyc"].strip
    assert found["system/python/nullbox/__pycache__/a.cpython-313.pyc"].strip
    guests = list(our_entry("nullbox/guest/a.py", ours, "system/guest/usr/lib/nullbox/a.py"))
    assert not any(entry.strip for entry in guests), "who writes an agent may ask for help"


def test_a_module_from_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no known origin"):
        list(host_modules({"x": "/elsewhere/x.py"}, tmp_path, {}, tmp_path, []))


def test_tracebacks_of_guest_programs_name_their_path_in_the_guest() -> None:
    _, compiled = our_entry("nullbox/guest/a.py", Path("r"), "system/guest/usr/lib/nullbox/a.py")
    assert compiled.text == "/usr/lib/nullbox/a.py"


def test_the_bundle_has_every_certificate_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.crt").write_text("B\n\n")
    (tmp_path / "a.crt").write_text("A")
    (tmp_path / "readme").write_text("no")
    assert certificate_bundle(tmp_path) == "A\nB\n"


def make_repository(folder: Path) -> Path:
    for path in ("pyproject.toml", "nullbox/a.py", "nullbox/cli/x.py", "agents/pulse/AGENT.toml", "image/b.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def test_the_key_changes_with_what_goes_in_and_only_then(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    key = input_key(repository, VARIANTS[RELEASE])
    (repository / "nullbox/cli/x.py").write_text("host only")
    (repository / "README.md").write_text("not in the image")
    assert input_key(repository, VARIANTS[RELEASE]) == key
    (repository / "agents/pulse/AGENT.toml").write_text("changed")
    assert input_key(repository, VARIANTS[RELEASE]) != key


def test_a_quick_image_is_not_taken_for_a_final_one(tmp_path: Path) -> None:
    stamp, image = tmp_path / "stamp", tmp_path / "image"
    assert not up_to_date(stamp, image, "key", 19)
    stamp.write_text("key 3\n")
    image.write_text("")
    assert not up_to_date(stamp, image, "key", 3), "nothing says what its root hash is"
    beside(image).write_text("")
    assert up_to_date(stamp, image, "key", 3)
    assert not up_to_date(stamp, image, "key", 19)
    assert not up_to_date(stamp, image, "other", 3)


def test_the_image_people_run_has_the_two_agents_that_start_by_themselves_and_the_test_image_has_all() -> None:
    root = Path(__file__).resolve().parents[3]
    names = {name: [folder.name for folder in variant.agent_folders(root)] for name, variant in VARIANTS.items()}
    assert names[RELEASE] == ["pulse", "reader"]
    assert {"pulse", "hostile", "alice", "crasher"} <= set(names["test"])
    assert names["bare"] == []
    for variant in VARIANTS.values():
        for _, source in variant.programs:
            assert (root / source).is_file()
    assert not VARIANTS[RELEASE].programs


def test_debug_information_is_left_out_of_libraries_and_nothing_else(tmp_path: Path) -> None:
    source, library, text = tmp_path / "x.c", tmp_path / "x.so", tmp_path / "text"
    source.write_text("int answer(void) { return 42; }\n")
    subprocess.run(["gcc", "-g", "-shared", "-o", library, source], check=True)
    text.write_text(".debug_info\0")
    before = library.stat().st_size
    for path in (library, text):
        drop_debug_information(path)
    assert library.stat().st_size < before
    assert ctypes.CDLL(str(library)).answer() == 42
    assert text.read_text() == ".debug_info\0"
    stripped = library.read_bytes()
    drop_debug_information(library)
    assert library.read_bytes() == stripped
