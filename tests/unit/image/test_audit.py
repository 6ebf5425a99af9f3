"""Every rule of an image is kept by a good listing and broken by one bad row."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from image.audit import (
    Elf,
    Listed,
    parse_mode,
    parse_needed,
    parse_unsquashfs,
    too_large,
    unlisted,
    unloadable,
    violations,
)
from image.contents import LIBRARIES, LIBRARY_PATH

FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
GOOD = Listed("usr/bin/python3.13", stat.S_IFREG | 0o755)


def judged(*rows: Listed) -> list[str]:
    return violations(rows, {row.path: "test" for row in rows}, [])


def test_a_good_listing_breaks_nothing() -> None:
    assert judged(GOOD, Listed("usr", FOLDER), Listed("bin", LINK, target="usr/bin")) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (replace(GOOD, mode=GOOD.mode | stat.S_ISUID), "setuid"),
        (replace(GOOD, mode=GOOD.mode | stat.S_ISGID), "setuid or setgid"),
        (Listed("tmp", FOLDER | 0o002), "writable by all"),
        (replace(GOOD, uid=1), "belongs to 1:0"),
        (replace(GOOD, gid=5), "belongs to 0:5"),
        (Listed("usr/bin/sh", FILE), "must not have"),
        (Listed("system/guest/usr/bin/busybox", FILE), "must not have"),
        (Listed("dev/mem", stat.S_IFCHR | 0o600), "neither file, folder nor link"),
    ],
)
def test_a_bad_row_is_named(row: Listed, words: str) -> None:
    (found,) = judged(row)
    assert f"/{row.path}" in found
    assert words in found


def test_only_what_is_listed_may_be_executed() -> None:
    (found,) = judged(Listed("usr/bin/new", stat.S_IFREG | 0o755))
    assert "/usr/bin/new is executable" in found
    assert judged(Listed("usr/lib/x.py", stat.S_IFREG | 0o644)) == []


def test_machine_code_that_no_table_lists_is_named() -> None:
    module = "usr/lib/python3.13/lib-dynload/_x.so"
    assert unlisted([Elf(module, ())], {module: "debian:libpython3.13-stdlib=1"}) == []
    assert unlisted([Elf(GOOD.path, ()), Elf(f"{LIBRARY_PATH}/libc.so.6", ())], {}) == []
    for path, origin in ((module, "nullbox:x.so"), ("usr/lib/hidden", "debian:libc6=1"), ("usr/lib/libq.so.1", "")):
        assert unlisted([Elf(path, ())], {path: origin}) == [
            f"/{path} is machine code that no table of image.contents lists"
        ]


def test_a_path_without_origin_is_named() -> None:
    assert violations([GOOD], {}, []) == ["/usr/bin/python3.13 has no origin"]


def test_links_are_not_judged_by_their_bits() -> None:
    assert judged(Listed("bin", LINK, target="usr/bin")) == []


def test_a_library_that_is_missing_or_unused_is_named() -> None:
    there = Elf(f"{LIBRARY_PATH}/libc.so.6", ())
    program = Elf("usr/bin/python3.13", ("libc.so.6",))
    assert unloadable([there, program]) == []
    assert unloadable([program]) == ["/usr/bin/python3.13 needs libc.so.6, which is not there"]
    assert unloadable([there]) == [f"/{LIBRARY_PATH}/libc.so.6 is loaded by nothing"]


def test_the_two_trees_do_not_lend_each_other_libraries() -> None:
    found = unloadable([Elf("system/guest/usr/bin/python3.13", ("libc.so.6",)), Elf(f"{LIBRARY_PATH}/libc.so.6", ())])
    assert len(found) == 2


def test_a_library_opened_at_run_time_says_by_whom() -> None:
    opened = [library for library in LIBRARIES if library.loaded_by]
    assert opened
    assert unloadable([Elf(f"{LIBRARY_PATH}/{library.soname}", ()) for library in opened]) == []


def test_extension_modules_need_no_one_that_names_them() -> None:
    assert unloadable([Elf("usr/lib/python3.13/lib-dynload/_x.so", ())]) == []


def test_size() -> None:
    assert too_large(10, limit=10) == []
    assert too_large(11, limit=10) == ["the image has 11 bytes, more than 10"]


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("-rw-r--r--", 0o100644),
        ("drwxr-xr-x", 0o040755),
        ("lrwxrwxrwx", 0o120777),
        ("-rwsr-xr-x", 0o104755),
        ("-rwSr--r--", 0o104644),
        ("-rwxr-sr-x", 0o102755),
        ("drwxrwxrwt", 0o041777),
        ("drwxrwxrwT", 0o041776),
    ],
)
def test_modes_are_read_as_ls_shows_them(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


def test_an_unsquashfs_listing_is_read() -> None:
    text = (
        "drwxr-xr-x 0/0                58 1970-01-01 00:00 squashfs-root\n"
        "lrwxrwxrwx 0/0                 7 1970-01-01 00:00 squashfs-root/bin -> usr/bin\n"
        "-rwsr-xr-x 0/5             12345 1970-01-01 00:00 squashfs-root/a file\n"
        "crw------- 0/0             1,  3 1970-01-01 00:00 squashfs-root/dev/null\n"
    )
    assert parse_unsquashfs(text) == [
        Listed("bin", 0o120777, 0, 0, "usr/bin"),
        Listed("a file", 0o104755, 0, 5),
        Listed("dev/null", 0o020600, 0, 0),
    ]


def test_readelf_is_read() -> None:
    text = """
File: /a/libx.so

Dynamic section at offset 0x1 contains 2 entries:
  Tag        Type                         Name/Value
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [libm.so.6]

File: /a/static

There is no dynamic section in this file.
"""
    assert parse_needed(text) == [Elf("/a/libx.so", ("libc.so.6", "libm.so.6")), Elf("/a/static", ())]
