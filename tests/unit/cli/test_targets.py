"""Which daemon is meant, by option, environment and file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nullbox.cli.targets import config_path, resolve
from nullbox.protocols.errors import ErrorCode, NullBoxError

CONFIG = """
target = "lab"
[targets.lab]
socket = "/lab.sock"
[targets.home]
socket = "~/home.sock"
[targets.broken]
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    environment = {"HOME": str(tmp_path)}
    path = Path(config_path(environment))
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    return environment


def test_the_nearest_wins(home: dict[str, str]) -> None:
    everything = {**home, "NULLD_SOCKET": "/env.sock", "NULLD_TARGET": "home"}
    assert resolve("/option.sock", "lab", everything) == "/option.sock"
    assert resolve(None, "lab", everything) == "/lab.sock"
    assert resolve(None, None, everything) == "/env.sock"
    assert resolve(None, None, {**home, "NULLD_TARGET": "home"}).endswith("/home.sock")
    assert resolve(None, None, home) == "/lab.sock"
    assert resolve(None, None, {"HOME": "/nowhere"}) == "/run/nulld.sock"


def test_a_target_that_is_not_there_is_answered_with_those_that_are(home: dict[str, str]) -> None:
    with pytest.raises(NullBoxError, match="there are: lab, home, broken") as caught:
        resolve(None, "lap", home)
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(NullBoxError, match="there are: none"):
        resolve(None, "lap", {"HOME": "/nowhere"})


def test_a_wrong_file_is_named(home: dict[str, str]) -> None:
    with pytest.raises(NullBoxError, match=r"targets.broken.socket is None"):
        resolve(None, "broken", home)
    Path(config_path(home)).write_text("= no")
    with pytest.raises(NullBoxError, match="is no TOML"):
        resolve(None, None, home)


def test_xdg_moves_the_file() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == "/x/nullbox/nullctl.toml"


def test_little_is_loaded_for_a_version() -> None:
    """Start-up is at most 120 ms; these are what once took it beyond, and what verbs load for themselves."""
    program = (
        "import sys; from nullbox.cli.nullctl import run; run(['--socket', '/nowhere', 'version']);"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("nullctl ")
    loaded = set(done.stderr.splitlines()[-1].split())
    slow = {"asyncio", "yaml", "tomllib", "difflib", "subprocess", "tempfile", "unicodedata", "nullbox.cli.render"}
    assert not loaded & {*slow, "nullbox.cli.tables", "nullbox.cage", "nullbox.gateway", "nullbox.supervision"}
