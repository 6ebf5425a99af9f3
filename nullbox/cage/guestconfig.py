"""The configuration that the launcher inside the VM gets: one word on its command line.

libkrun hands arguments over on the guest kernel's command line, which carries no quotes and, on x86-64, 2,048 bytes in
all. So the configuration is lines of words, deflated, in URL-safe base64: `KEY TAB VALUE …`, a line each. It holds no
secret: every process of the guest can read `/proc/cmdline`. `nullbox/guest/launcher.py` reads it, and reads lines
rather than JSON because every module that it imports delays the agent. The two have no common code, since nothing of
the host is in the guest; a test holds them together.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 1100
"""What is left of the kernel's command line beside libkrun's own words and its up to 11 devices."""

VERSION = "2"


def encode(config: Mapping[str, Any]) -> str:
    """The word.

    config: `name`, `version`, `argv` (list of words), `mounts` (list of tag, path, read-only), and `net` (interface,
    address, prefix, gateway) if there is a card, `health` (port, path, seconds, failures) if there is a check.

    Raises:
        ValueError: it would be longer than `MAX_CHARACTERS`, or a word holds a tab or a line break.
    """
    lines = [["v", VERSION], ["name", config["name"]], ["version", config["version"]], ["argv", *config["argv"]]]
    lines += [["mount", tag, path, "ro" if read_only else "rw"] for tag, path, read_only in config["mounts"]]
    if "net" in config:
        lines.append(["net", *map(str, config["net"])])
    if "health" in config:
        lines.append(["health", *map(str, config["health"])])
    for text in (word for line in lines for word in line):
        if "\t" in text or "\n" in text:
            raise ValueError(f"the guest's configuration carries no tab and no line break, so not {text!r}")
    data = "\n".join("\t".join(line) for line in lines).encode()
    word = base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")
    if len(word) > MAX_CHARACTERS:
        raise ValueError(
            f"entrypoint and granted paths are too long for the guest's command line: {len(word)} characters when "
            f"packed, {MAX_CHARACTERS} fit; use shorter arguments or fewer and shorter paths"
        )
    return word
