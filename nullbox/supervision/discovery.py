"""Which agents there are: the folders with an AGENT.toml, bundled and deployed.

Reads the file system, and nothing else. A folder whose manifest is wrong does not keep the others from starting:
it is reported beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nullbox.cage import manifest
from nullbox.cage.problems import ManifestError
from nullbox.protocols.layout import Layout
from nullbox.supervision.spec import parse_restart
from nullbox.supervision.tree import AgentEntry

MANIFEST = "AGENT.toml"


@dataclass(slots=True)
class Agents:
    """entries: by name, in order of names. refused: folder → why it holds no agent that could run."""

    entries: dict[str, AgentEntry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def discover(layout: Layout) -> Agents:
    """All agents. A deployed agent takes the place of a bundled one of the same name."""
    found = Agents()
    for parent in (layout.bundled_agents, layout.deployed_agents):
        for folder in agent_folders(parent):
            try:
                entry = read_agent(folder)
            except (OSError, ManifestError, ValueError) as error:
                found.refused[str(folder)] = str(error)
            else:
                found.entries[entry.name] = entry
    found.entries = dict(sorted(found.entries.items()))
    return found


def find_agent(layout: Layout, name: str) -> AgentEntry | None:
    """One agent by name, as `discover` would find it."""
    return discover(layout).entries.get(name)


def agent_folders(parent: Path) -> Iterator[Path]:
    """The folders right below `parent` that hold a manifest. Hidden ones are being written by a deployment."""
    if parent.is_dir():
        for folder in sorted(parent.iterdir()):
            if not folder.name.startswith(".") and (folder / MANIFEST).is_file():
                yield folder


def read_agent(folder: Path) -> AgentEntry:
    """The agent in a folder.

    Raises:
        ManifestError: the manifest is wrong; says all that is.
        ValueError: it names another agent than the folder does, or is too large.
        OSError: it cannot be read.
    """
    with (folder / MANIFEST).open("rb") as file:
        agent = manifest.parse(file.read(manifest.MAX_BYTES + 1))
    if agent.name != folder.name:
        raise ValueError(f"agent.name is {agent.name!r}; allowed: the folder's name, {folder.name!r}")
    return AgentEntry(agent.name, folder, parse_restart(agent.restart), agent.autostart)
