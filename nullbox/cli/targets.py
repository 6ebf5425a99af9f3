"""Which daemon is meant: options, environment, configuration file. Effects: reads that file, if it is needed.

Paths are texts here: every run of nullctl comes by, and `pathlib` takes longer to import than all of this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

DEFAULT_SOCKET = "/run/nulld.sock"
SOCKET_VARIABLE = "NULLD_SOCKET"
TARGET_VARIABLE = "NULLD_TARGET"


def config_path(environment: Mapping[str, str]) -> str:
    """Where the configuration file lies (XDG Base Directory Specification)."""
    home = environment.get("HOME") or "/"
    return (environment.get("XDG_CONFIG_HOME") or f"{home}/.config") + "/nullbox/nullctl.toml"


def resolve(socket: str | None, target: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The socket's path: the options first, then the environment, then the file's default target.

    Raises:
        NullBoxError: `not_found`, no such target; `invalid`, the file is wrong.
    """
    environment = os.environ if environment is None else environment
    if socket:
        return socket
    if not target:
        if environment.get(SOCKET_VARIABLE):
            return environment[SOCKET_VARIABLE]
        target = environment.get(TARGET_VARIABLE)
    path = config_path(environment)
    if not target and not os.path.exists(path):  # noqa: PTH110
        return DEFAULT_SOCKET
    return _from_config(path, target)


def _from_config(path: str, target: str | None) -> str:
    config = _load(path)
    targets = config.get("targets", {})
    chosen = target or config.get("target")
    if chosen is None:
        return DEFAULT_SOCKET
    entry = targets.get(chosen) if isinstance(targets, dict) else None
    if not isinstance(entry, dict):
        known = ", ".join(targets) if isinstance(targets, dict) and targets else "none"
        raise NullBoxError(ErrorCode.NOT_FOUND, f"no target {chosen!r} in {path}; there are: {known}")
    found = entry.get("socket")
    if not isinstance(found, str) or not found:
        raise NullBoxError(ErrorCode.INVALID, f"{path}: targets.{chosen}.socket is {found!r}; allowed: a path")
    return os.path.expanduser(found)  # noqa: PTH111 - stays text


def _load(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NullBoxError(ErrorCode.INVALID, f"{path} is no TOML: {error}") from None
