"""The images there are, as data: the one people run, and the one that the boot tests run.

The test image differs in what it adds: agents that crash, end and misbehave. Everything else in it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Variant:
    """One image. agents: folders of agents, below the repository. level: zstd's, which is most of a build's time."""

    name: str
    file: str
    agents: tuple[str, ...]
    level: int

    @property
    def work(self) -> str:
        """Folder below `build/` with the tree as written, the manifest and the stamp."""
        return "image" if self.name == RELEASE else f"image-{self.name}"


RELEASE = "release"

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.name: variant
        for variant in (
            Variant(RELEASE, "root.squashfs", ("agents",), 19),
            Variant("test", "test.squashfs", ("agents", "tests/boot/agents"), 3),
            Variant("bare", "bare.squashfs", (), 3),
        )
    }
)
