"""Agents' folders as they are sent, checked and put in their place. Effects: writes below `deployed_agents`.

A folder comes in parts, into a hidden directory beside the agents, and becomes an agent in one rename, once its
manifest is sound. So whoever reads the directory sees whole agents only, and a deployment that fails or is given up
leaves nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nullbox.cage import manifest
from nullbox.gateway.schema import UPLOAD
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout

MANIFEST = "AGENT.toml"
MOST_BYTES = 64 * 1024 * 1024
MOST_FILES = 2000
LONGEST_PATH = 255
DEEPEST_PATH = 16
DEFAULT_ENTRY = {"python": "main.py"}


def checked_path(text: Any) -> PurePosixPath:
    """A path inside an agent's folder. Raises NullBoxError `invalid`."""
    if isinstance(text, str) and 0 < len(text.encode("utf-8", "surrogatepass")) <= LONGEST_PATH:
        parts = text.split("/")
        sound = all(part not in ("", ".", "..") and part.isprintable() for part in parts)
        if sound and len(parts) <= DEEPEST_PATH:
            return PurePosixPath(text)
    allowed = f"a relative path without '.' and '..', at most {LONGEST_PATH} bytes and {DEEPEST_PATH} names deep"
    raise NullBoxError(ErrorCode.INVALID, f"file path {str(text)[:80]!r}; allowed: {allowed}")


class Deployments:
    """The folders of deployed agents. One caller at a time for each upload."""

    def __init__(self, layout: Layout) -> None:
        self._agents = layout.deployed_agents
        self._bundled = layout.bundled_agents

    def clean(self) -> None:
        """Remove what deployments left that were under way when the gateway ended."""
        for leftover in self._agents.glob(".upload-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # A replacement that was cut off between its two renames: the old folder is the agent.
        for old in self._agents.glob(".old-*"):
            place = self._agents / old.name.removeprefix(".old-")
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(place)

    def is_deployed(self, name: str) -> bool:
        return (self._agents / name / MANIFEST).is_file()

    def is_bundled(self, name: str) -> bool:
        return (self._bundled / name / MANIFEST).is_file()

    def receive(self, upload: str, files: Sequence[Any]) -> int:
        """Write one part of an upload; the bytes of the whole so far.

        Raises:
            NullBoxError: `invalid` for what is no sound file, `too_large`. The upload is gone then.
        """
        folder = self._staging(upload)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for item in files:
                self._write(folder, item)
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
                found = f"{len(sizes)} files of {sum(sizes)} bytes"
                message = f"the agent has {found}; allowed: {MOST_FILES} files of {MOST_BYTES} bytes in all"
                raise NullBoxError(ErrorCode.TOO_LARGE, message)
            return sum(sizes)
        except OSError as error:
            self.abandon(upload)
            raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot store the agent: {error.strerror}") from None
        except BaseException:
            self.abandon(upload)
            raise

    def check(self, upload: str) -> manifest.Manifest:
        """The manifest of a whole upload.

        Raises:
            NullBoxError: `invalid`, with all that is wrong with it.
        """
        folder = self._staging(upload)
        try:
            source = (folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            raise NullBoxError(ErrorCode.INVALID, f"the folder has no {MANIFEST}") from None
        if len(source) > manifest.MAX_BYTES:
            raise NullBoxError(
                ErrorCode.TOO_LARGE, f"{MANIFEST} has {len(source)} bytes; allowed: {manifest.MAX_BYTES}"
            )
        agent = manifest.parse(source)
        entry = agent.entrypoint[0] if agent.entrypoint else DEFAULT_ENTRY.get(agent.runtime, agent.name)
        if not (folder / entry).is_file():
            raise NullBoxError(ErrorCode.INVALID, f"agent.entrypoint: the folder has no file {entry!r}")
        return agent

    def place(self, upload: str, name: str) -> None:
        """Make the upload the agent `name`; one that was there is kept aside until `settle` or `undo`."""
        place, old = self._agents / name, self._old(name)
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            place.rename(old)
        self._staging(upload).rename(place)
        _sync(self._agents)

    def settle(self, name: str) -> None:
        """The new agent is good: forget the old one."""
        shutil.rmtree(self._old(name), ignore_errors=True)

    def undo(self, name: str) -> None:
        """Put the old agent back, if there was one, in the place of the new."""
        self.remove(name)
        with contextlib.suppress(FileNotFoundError):
            self._old(name).rename(self._agents / name)

    def abandon(self, upload: str) -> None:
        """Drop an upload. Nothing happens if there is none."""
        shutil.rmtree(self._staging(upload), ignore_errors=True)

    def remove(self, name: str) -> None:
        """Delete the folder of a deployed agent."""
        gone = self._agents / f".upload-removed-{name}"
        with contextlib.suppress(FileNotFoundError):
            (self._agents / name).rename(gone)
            _sync(self._agents)  # what was said to be removed does not come back after a loss of power
        shutil.rmtree(gone, ignore_errors=True)

    def _staging(self, upload: str) -> Path:
        if UPLOAD.fullmatch(upload) is None:
            message = f"upload is {upload[:40]!r}; allowed: 8 to 32 of a-z and 0-9, chosen by the client"
            raise NullBoxError(ErrorCode.INVALID, message)
        return self._agents / f".upload-{upload}"

    def _old(self, name: str) -> Path:
        return self._agents / f".old-{name}"

    def _write(self, folder: Path, item: Any) -> None:
        if not isinstance(item, Mapping):
            raise NullBoxError(ErrorCode.INVALID, "files: each is {path, data, offset, executable}")
        path = checked_path(item.get("path"))
        offset, data = item.get("offset", 0), item.get("data", "")
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= MOST_BYTES:
            raise NullBoxError(ErrorCode.INVALID, f"{path}: offset is {offset!r}; allowed: 0 to {MOST_BYTES}")
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise NullBoxError(ErrorCode.INVALID, f"{path}: data is no base64 text") from None
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            raise NullBoxError(ErrorCode.INVALID, f"{path} is a folder and a file")
        mode = 0o755 if item.get("executable") is True else 0o644
        # The directory is ours alone and holds what this function made: no link can be in the way.
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            view = memoryview(content)
            while view:
                written = os.pwrite(fd, view, offset)
                view, offset = view[written:], offset + written
            os.fsync(fd)
        finally:
            os.close(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
