"""The one vocabulary of failure: codes that travel over JSON-RPC, and the exit codes they become.

`ErrorCode` is the `data.code` of a JSON-RPC error (contract of the gateway); `EXIT_CODES` is what `nullctl`
ends with. Both are closed tables: a code that is missing from one is a programming error a test finds.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any


class ErrorCode(StrEnum):
    """What went wrong, for a program. The message beside it says it for a person."""

    NOT_FOUND = "not_found"
    WRONG_STATE = "wrong_state"
    INVALID = "invalid"
    DENIED = "denied"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    INTERNAL = "internal"


class NullBoxError(Exception):
    """An error that is part of a contract: it has a code, and a message that says what would be right."""

    def __init__(self, code: ErrorCode, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data: dict[str, Any] = dict(data or {})

    def __repr__(self) -> str:
        return f"NullBoxError({self.code.value}, {self.message!r})"


EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_REFUSED = 4
EXIT_UNREACHABLE = 5
EXIT_WRONG_STATE = 6
EXIT_TIMED_OUT = 124

EXIT_CODES = MappingProxyType(
    {
        ErrorCode.NOT_FOUND: EXIT_NOT_FOUND,
        ErrorCode.WRONG_STATE: EXIT_WRONG_STATE,
        ErrorCode.INVALID: EXIT_USAGE,
        ErrorCode.DENIED: EXIT_REFUSED,
        ErrorCode.TIMEOUT: EXIT_TIMED_OUT,
        ErrorCode.UNAVAILABLE: EXIT_FAILED,
        ErrorCode.CONFLICT: EXIT_FAILED,
        ErrorCode.TOO_LARGE: EXIT_REFUSED,
        ErrorCode.INTERNAL: EXIT_FAILED,
    }
)
