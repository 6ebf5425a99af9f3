"""A support archive: what one who helps needs to see, without secrets. Effects: asks the daemon, writes one file.

Left out altogether: what agents wrote, to their consoles or to the shared memory. What is left in is searched for
names that smell of secrets.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nullbox import __version__
from nullbox.protocols.errors import ErrorCode, NullBoxError

if TYPE_CHECKING:
    from nullbox.client import Nulld

SECRET = re.compile(r"secret|token|passw|credential|authorization|cookie|api_?key|private", re.IGNORECASE)
HIDDEN = "(left out)"
LOOKS_LIKE_ONE = re.compile(r"\b(?:sk|pk|ghp|gho|xox[abp]|AKIA|eyJ)[-_A-Za-z0-9.]{12,}")

ASSIGNED = re.compile(
    r"((?:secret|token|passw(?:or)?d|passphrase|credential|authorization|cookie|api_?key|private_?key)"
    r"[\w-]*[\"']?\s*[=:]\s*)(?:bearer\s+)?\S+",
    re.IGNORECASE,
)
"""A secret-looking name and its value in the middle of a text."""


def redact(value: Any) -> Any:
    """The same data, with values of secret-looking names, and words that look like tokens, taken out. Pure."""
    if isinstance(value, dict):
        return {
            name: inner if _harmless(name, inner) else HIDDEN if SECRET.search(name) else redact(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [redact(inner) for inner in value]
    if isinstance(value, str):
        return LOOKS_LIKE_ONE.sub(HIDDEN, ASSIGNED.sub(rf"\g<1>{HIDDEN}", value))
    return value


def _harmless(name: str, value: Any) -> bool:
    return SECRET.search(name) is not None and value in (None, [], {}, "", False)


def gather(nulld: Nulld) -> dict[str, Any]:
    """File name → content. A question that fails leaves its error in the place of its answer."""
    found: dict[str, Any] = {"client": {"version": __version__, "made": time.time()}}
    questions: dict[str, Callable[[], Any]] = {
        "version": nulld.version,
        "status": nulld.status,
        "doctor": nulld.doctor,
        "tree": nulld.tree,
        "events": lambda: nulld.events(limit=200),
        "egress-rules": nulld.egress_rules,
        "ctx-status": nulld.ctx_status,
    }
    for name, ask in questions.items():
        found[name] = _answer(ask)
    listed = _answer(nulld.agent_list)
    for agent in listed if isinstance(listed, list) else []:
        name = agent["name"]
        found[f"agent-{name}"] = _answer(lambda name=name: nulld.agent_inspect(name))  # type: ignore[misc]
    return {name: redact(value) for name, value in found.items()}


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except NullBoxError as error:
        return {"error": error.code.value, "message": error.message}


def write(path: Path, files: dict[str, Any]) -> None:
    """Write the archive (tar, gzip), readable for its owner only.

    Raises:
        NullBoxError: `conflict`, there is such a file; `unavailable`, it cannot be written.
    """
    try:
        with path.open("xb") as raw:
            path.chmod(0o600)
            with tarfile.open(fileobj=raw, mode="w:gz") as archive:
                for name, value in files.items():
                    data = json.dumps(value, indent=2).encode()
                    entry = tarfile.TarInfo(f"nullbox-support/{name}.json")
                    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o644
                    archive.addfile(entry, io.BytesIO(data))
    except FileExistsError:
        raise NullBoxError(ErrorCode.CONFLICT, f"{path} is there already; give another name") from None
    except OSError as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot write {path}: {error.strerror}") from None
