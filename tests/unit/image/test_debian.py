"""The private apt's pure parts: reading indexes and sources, choosing a mirror, writing the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image import debian

STANZA = """\
Package: libnftables1
Version: 1.1.3-1
Architecture: amd64
Depends: libc6 (>= 2.38), libjansson4 (>= 2.14)
Pre-Depends: dpkg
Description: Netfilter nftables high level library
 A longer text: with a colon.
Filename: pool/main/n/nftables/libnftables1_1.1.3-1_amd64.deb
Size: 322112
SHA256: ABCDEF
"""


def test_a_stanza_becomes_a_package() -> None:
    (package,) = debian.parse_packages(STANZA)
    assert package.spec == "libnftables1=1.1.3-1"
    assert package.size == 322112
    assert package.sha256 == "abcdef"
    assert package.depends == "dpkg, libc6 (>= 2.38), libjansson4 (>= 2.14)"


def test_an_epoch_is_escaped_in_the_file_name() -> None:
    package = debian.Package("zlib1g", "1:1.3-1", "amd64", "pool/z.deb", "0", 1)
    assert package.deb_name == "zlib1g_1%3a1.3-1_amd64.deb"


def test_a_stanza_without_a_needed_field_is_refused() -> None:
    with pytest.raises(debian.DebianArchiveError, match="'libnftables1' has no field SHA256"):
        debian.parse_packages(STANZA.replace("SHA256: ABCDEF\n", ""))


@given(st.text())
def test_any_text_splits_into_stanzas_without_failing(text: str) -> None:
    debian.parse_stanzas(text)


def test_uris_of_an_installation_are_read_in_order() -> None:
    talk = (
        "Reading package lists...\nThe following NEW packages will be installed:\n  libc6 zlib1g\n"
        "'http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.41-12_amd64.deb' libc6_2.41-12_amd64.deb 2 SHA256:x\n"
        "'http://deb.debian.org/debian/pool/main/z/z.deb' zlib1g_1%3a1.3-1_amd64.deb 88 SHA256:y\n"
    )
    assert debian.parse_install_uris(talk) == [("libc6", "2.41-12"), ("zlib1g", "1:1.3-1")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deb http://deb.debian.org/debian bookworm main\n", "http://deb.debian.org/debian"),
        ("deb [arch=amd64 signed-by=/k] https://mirror.example/debian/ trixie main\n", "https://mirror.example/debian"),
        ("# deb http://old.example/debian x main\n", None),
        ("deb http://deb.debian.org/debian-security bookworm-security main\n", None),
        ("deb https://packages.example/apt stable main\n", None),
        ("deb file:/media/debian trixie main\n", None),
        ("Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\n", "http://deb.debian.org/debian"),
        ("Types: deb-src\nURIs: http://deb.debian.org/debian\nSuites: trixie\n", None),
        ("Types: deb\nEnabled: no\nURIs: http://deb.debian.org/debian\nSuites: trixie\n", None),
        ("", None),
    ],
)
def test_the_hosts_mirror_is_the_main_archive_and_nothing_else(text: str, expected: str | None) -> None:
    assert debian.mirror_from_sources([text]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ID=debian\n", True), ('ID="debian"\n', True), ("ID=ubuntu\nID_LIKE=debian\n", False), ("", False)],
)
def test_a_derivative_is_not_debian(text: str, expected: bool) -> None:
    assert debian.is_debian(text) is expected


def test_the_variable_overrides_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "https://mirror.example/debian/")
    assert debian.choose_mirror() == "https://mirror.example/debian"


def test_only_the_way_to_the_network_is_taken_from_the_host() -> None:
    acquire = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::IndexTargets::deb::DEP-11::MetaKey "x";\n'
        'APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";\n'
    )
    text = debian.render_configuration(Path("/cache/trixie"), acquire)
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in text
    assert "Post-Invoke" not in text and "DEP-11" not in text
    for path in ("SourceList", "State::Lists", "State::status", "Cache"):
        assert f'::{path} "/cache/trixie/' in text


def test_every_source_is_bound_to_debians_keyring() -> None:
    text = debian.render_sources("https://m.example/debian", ("trixie",), Path("/k.gpg"))
    assert text == "deb [arch=amd64 signed-by=/k.gpg] https://m.example/debian trixie main\n"
