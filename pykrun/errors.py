"""What can go wrong: the library is missing, lacks a function, or refused a call."""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Sequence


class LibraryNotFound(OSError):
    """No libkrun could be loaded. The message lists every place that was tried and what was wrong there."""

    def __init__(self, tried: Sequence[tuple[str, str]]) -> None:
        self.tried = tuple(tried)
        lines = "; ".join(f"{place}: {why}" for place, why in self.tried) or "nowhere to look"
        super().__init__(
            _errno.ENOENT,
            f"libkrun was not found ({lines}). Install libkrun or the smolmachines package, or set "
            "PYKRUN_LIBRARY to the path of libkrun.so",
        )


class MissingFunction(AttributeError):
    """This build of libkrun does not export the function."""

    def __init__(self, function: str, library: str) -> None:
        self.function = function
        self.library = library
        super().__init__(f"{library} has no {function}")


class KrunError(OSError):
    """libkrun returned a negative errno.

    errno: the positive number, as in the module `errno`.
    function: the C function. arguments: what it was called with, for the message.
    detail: the library's own words (`krun_get_last_error`), or None.
    """

    def __init__(self, number: int, function: str, arguments: str = "", detail: str | None = None) -> None:
        self.function = function
        self.arguments = arguments
        self.detail = detail
        text = f"{function}({arguments}): {os.strerror(number)}"
        super().__init__(number, f"{text}: {detail}" if detail else text)
