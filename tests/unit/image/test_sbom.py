"""The bill of materials: licences as metadata names them, the same document for the same parts."""

from __future__ import annotations

import json
from pathlib import Path

from image import sbom
from image.sources import Unpacked

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: https://example.org

Files: *
Copyright: somebody
License: GPL-2+

Files: debian/*
License: BSD-3-clause
 Redistribution and use …
"""


def debian(folder: Path, text: str) -> Unpacked:
    path = folder / "usr/share/doc/libx1/copyright"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return Unpacked(folder, "debian:libx1=2:1.0-3+b1", "ab" * 32)


def test_a_debian_package(tmp_path: Path) -> None:
    part = sbom.of_debian(debian(tmp_path, DEP5))
    assert (part["name"], part["version"]) == ("libx1", "2:1.0-3+b1")
    assert part["purl"] == "pkg:deb/debian/libx1@2%3A1.0-3%2Bb1?arch=amd64&distro=trixie"
    assert part["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert [each["license"]["name"] for each in part["licenses"]] == ["BSD-3-clause", "GPL-2+"]


def test_a_copyright_file_in_free_text_is_referred_to(tmp_path: Path) -> None:
    part = sbom.of_debian(debian(tmp_path, "You may do this:\nLicense: no\n"))
    assert [each["license"]["name"] for each in part["licenses"]] == [sbom.UNKNOWN]


def test_a_distribution(tmp_path: Path) -> None:
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info/METADATA").write_text("Name: x\nLicense-Expression: Apache-2.0\nLicense: other\n")
    part = sbom.of_pypi(Unpacked(tmp_path, "pypi:x==1", "cd" * 32))
    assert part["purl"] == "pkg:pypi/x@1"
    assert [each["license"]["name"] for each in part["licenses"]] == ["Apache-2.0"]


def test_classifiers_count_when_nothing_else_names_the_licence() -> None:
    text = "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\nClassifier: Topic :: X\n"
    assert sbom.pypi_licences(text) == ["MIT License"]


def test_the_document_depends_on_its_parts_alone(tmp_path: Path) -> None:
    first = sbom.component("a", "1", "pkg:pypi/a@1", "ab" * 32, ["MIT"])
    second = sbom.component("b", "1", "pkg:pypi/b@1", "cd" * 32, [])
    text = sbom.document("nullbox", "1", [second, first])
    assert text == sbom.document("nullbox", "1", [first, second])
    read = json.loads(text)
    assert read["bomFormat"] == "CycloneDX"
    assert [part["name"] for part in read["components"]] == ["a", "b"]
    assert read["serialNumber"] != json.loads(sbom.document("nullbox", "1", [first]))["serialNumber"]
    assert "timestamp" not in text
