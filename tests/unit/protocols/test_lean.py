"""Foreign packages are loaded without what they only name, and what is asked of it after all is the real thing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nullbox.protocols.lean import stood_in


def test_a_stand_in_is_there_for_a_moment() -> None:
    with stood_in({"nullbox_no_such_module": {"answer": 42}}):
        from nullbox_no_such_module import answer  # type: ignore[import-not-found]

        assert answer == 42
    with pytest.raises(ImportError):
        import nullbox_no_such_module  # noqa: F401


def test_what_is_loaded_stays_what_it_is() -> None:
    with stood_in({"json": {"dumps": None}}):
        import json

        assert json.dumps([]) == "[]"
    assert sys.modules["json"] is json


def test_after_an_error_nothing_is_left() -> None:
    with pytest.raises(ZeroDivisionError), stood_in({"nullbox_no_such_module": {}}):
        raise ZeroDivisionError
    assert "nullbox_no_such_module" not in sys.modules


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_actor_system_does_without_what_thespian_only_names() -> None:
    source = ("thespian.system.sourceLoader", "zipfile", "importlib.resources")
    names = ("multiprocessing", "logging.config", "argparse", "importlib.metadata", *source)
    program = f"import sys, nullbox.actors.system; print([name for name in {names} if name in sys.modules])"
    assert python(program) == "[]"


def test_a_stock_thespian_gets_the_real_thing() -> None:
    program = """
import logging
from nullbox.actors import lean
from thespian.system import actorManager, logdirector, multiprocCommon
from thespian.actors import InvalidActorSourceHash
logdirector.dictConfig({"version": 1, "root": {"level": "ERROR"}})
print(logging.getLogger().level)
try:
    actorManager.loadModuleFromHashSource("a hash", {}, "a", "b")
except InvalidActorSourceHash:
    print("no such source")
print(multiprocCommon.multiprocessing.process.current_process().name)
"""
    assert python(program).split("\n") == ["40", "no such source", "MainProcess"]


def test_the_netlink_client_needs_no_tls() -> None:
    program = """
import sys
sys.modules["ssl"] = None  # importing it is an error
from nullbox.egress import netlink
print(netlink.load().__name__)
"""
    assert python(program) == "IPRoute"
