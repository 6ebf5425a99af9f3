"""The images there are, as data: the one people run, and those that the boot tests run.

The test images differ in their agents (those that crash, end and misbehave; none at all). Each holds a program more for
machines that are booted with it as their init: one that kills when a test says so, one that only writes. All the rest
is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Variant:
    """One image.

    agents: the folders of its agents, as patterns below the repository. level: zstd's, which is most of a build's time.
    programs: path in the image → file of the repository, of more programs.
    """

    name: str
    file: str
    agents: tuple[str, ...]
    level: int
    programs: tuple[tuple[str, str], ...] = ()

    @property
    def work(self) -> str:
        """Folder below `build/` with the tree as written, the manifest and the stamp."""
        return "image" if self.name == RELEASE else f"image-{self.name}"

    def agent_folders(self, repository: Path) -> list[Path]:
        """The folders of its agents, by name."""
        found = [folder for pattern in self.agents for folder in repository.glob(pattern) if folder.is_dir()]
        return sorted(found, key=lambda folder: folder.name)


RELEASE = "release"

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.name: variant
        for variant in (
            Variant(RELEASE, "root.squashfs", ("agents/pulse", "agents/reader"), 19),
            Variant(
                "test",
                "test.squashfs",
                ("agents/*", "tests/boot/agents/*"),
                3,
                (("usr/sbin/saboteur", "tests/boot/saboteur.py"),),
            ),
            Variant("bare", "bare.squashfs", (), 3, (("usr/sbin/storm", "tests/boot/storm.py"),)),
        )
    }
)
