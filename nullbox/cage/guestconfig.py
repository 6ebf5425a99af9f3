"""The configuration that the launcher inside the VM gets: one word on its command line.

libkrun hands arguments over on the guest kernel's command line, which carries no quotes and, on x86-64, 2,048 bytes in
all. So the configuration is JSON, deflated, in URL-safe base64. It holds no secret: every process of the guest can read
`/proc/cmdline`. `nullbox/guest/launcher.py` reads it; the two have no common code, since nothing of the host is in the
guest, and a test holds them together.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 1100
"""What is left of the kernel's command line beside libkrun's own words and its up to 11 devices."""

VERSION = 1


def encode(config: Mapping[str, Any]) -> str:
    """The word.

    Raises:
        ValueError: it would be longer than `MAX_CHARACTERS`.
    """
    data = json.dumps({"v": VERSION, **config}, separators=(",", ":"), sort_keys=True).encode()
    word = base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")
    if len(word) > MAX_CHARACTERS:
        raise ValueError(
            f"entrypoint and granted paths are too long for the guest's command line: {len(word)} characters when "
            f"packed, {MAX_CHARACTERS} fit; use shorter arguments or fewer and shorter paths"
        )
    return word


def decode(word: str) -> dict[str, Any]:
    """Read the word back, for `inspect` and tests. Raises ValueError (or zlib.error) for anything else."""
    data = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
    config = json.loads(zlib.decompress(data))
    if not isinstance(config, dict):
        raise ValueError("not a guest configuration")
    return config
