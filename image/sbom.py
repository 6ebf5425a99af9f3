"""The bill of materials: every package, distribution and program in the boot artefacts (reads licence texts, no more).

CycloneDX 1.6 as JSON. It holds no time and no random number, so the same inputs give the same document; its serial
number is made from its content. Licences are given as their own metadata name them: Debian's words are not always SPDX
identifiers, so they are `name`s and not `id`s.

Sources: CycloneDX 1.6; Package URL specification; Debian's machine-readable copyright format 1.0 (DEP-5); PEP 639.
"""

from __future__ import annotations

import email
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from image.debian import DEFAULT_SUITE
from image.sources import Sources, Unpacked

NAMESPACE = uuid.UUID("7d0a4a43-0a6c-5d8b-9d0e-6a3f2f1c9b57")
"""Of the names that serial numbers are made from; fixed for ever."""
UNKNOWN = "see the package's copyright file"

Component = dict[str, Any]


def components(sources: Sources) -> list[Component]:
    """What the root file system is made of, sorted by name."""
    found = [of_debian(item) for item in sources.debian.values()]
    found += [of_pypi(item) for item in sources.pypi.values()]
    return sorted(found, key=lambda each: str(each["purl"]))


def of_debian(item: Unpacked) -> Component:
    """A Debian package; origin `debian:NAME=VERSION`."""
    name, _, version = item.origin.removeprefix("debian:").partition("=")
    copyright_file = item.folder / "usr/share/doc" / name / "copyright"
    text = copyright_file.read_text(errors="replace") if copyright_file.is_file() else ""
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch=amd64&distro={DEFAULT_SUITE}"
    return component(name, version, purl, item.sha256, debian_licences(text))


def of_pypi(item: Unpacked) -> Component:
    """A distribution; origin `pypi:NAME==VERSION`."""
    name, _, version = item.origin.removeprefix("pypi:").partition("==")
    files = [*sorted(item.folder.glob("*.dist-info/METADATA")), item.folder / "PKG-INFO"]
    text = next((path.read_text(errors="replace") for path in files if path.is_file()), "")
    return component(name, version, f"pkg:pypi/{quote(name)}@{quote(version)}", item.sha256, pypi_licences(text))


def component(name: str, version: str, purl: str, sha256: str, licences: Sequence[str]) -> Component:
    """One entry of the document. sha256: of the file that it was taken from."""
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": [{"license": {"name": licence}} for licence in licences or [UNKNOWN]],
    }


def debian_licences(text: str) -> list[str]:
    """The short names in a machine-readable copyright file; none if it is free text."""
    if "copyright-format/1.0" not in text.partition("\n\n")[0]:
        return []
    return sorted({match.strip() for match in re.findall(r"^License:[ \t]*(\S.*)$", text, flags=re.MULTILINE)})


def pypi_licences(text: str) -> list[str]:
    """What a distribution's metadata says: its expression, or else its licence field or classifiers."""
    headers = email.message_from_string(text)
    for field in ("License-Expression", "License"):
        value = (headers.get(field) or "").strip()
        if value and value != "UNKNOWN" and "\n" not in value:
            return [value]
    classifiers = [str(value) for value in headers.get_all("Classifier") or []]
    return sorted({value.rpartition(" :: ")[2] for value in classifiers if value.startswith("License ::")})


def document(name: str, version: str, parts: Iterable[Component]) -> str:
    """The whole document as text, the same for the same parts."""
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "bom-ref": name,
                "name": name,
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            }
        },
        "components": sorted(parts, key=lambda each: str(each["purl"])),
    }
    body["dependencies"] = [{"ref": name, "dependsOn": [part["bom-ref"] for part in body["components"]]}]
    body["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(body, sort_keys=True))}"
    return json.dumps(body, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def read(path: Path) -> list[Component]:
    """The components that the build of the root left beside its manifest."""
    return list(json.loads(path.read_text()))
