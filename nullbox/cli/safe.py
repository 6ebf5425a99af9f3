"""Text from outside, fit for a terminal. Pure. Apart from `render`, because every run of nullctl needs it."""

from __future__ import annotations

import re

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")


def safe(text: str) -> str:
    r"""The text with control and direction characters written out (`\x1b`, `\u202e`), so it stays on its line."""
    return UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
