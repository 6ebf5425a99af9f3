"""Network namespaces: calls and objects inside them, in processes of their own. This process never enters one."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from nullbox.protocols.errors import NullBoxError

CLONE_NEWNET = 0x40000000

_fork = multiprocessing.get_context("fork")


def missing() -> str:
    """Why the lab cannot be built here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "this machine does not allow network namespaces"


def enter(namespace: str) -> None:
    """Move this thread, for good, into a named namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def inside(namespace: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a named namespace, in a process of its own, and give back its result."""
    near, far = _fork.Pipe()

    def run() -> None:
        try:
            enter(namespace)
            far.send((True, function(*args)))
        except BaseException:
            far.send((False, traceback.format_exc()))
        os._exit(0)

    process = _fork.Process(target=run, daemon=True)
    process.start()
    far.close()
    try:
        if not near.poll(60):
            raise TimeoutError(f"{function} did not come back")
        ok, value = near.recv()
    finally:
        process.kill()
        process.join()
    if not ok:
        raise AssertionError(value)
    return value


class Worker:
    """An object that lives in its own process and namespace; its methods are called over a pipe."""

    def __init__(self, namespace: str, make: Callable[[], Any]) -> None:
        self._pipe, far = _fork.Pipe()
        self._process = _fork.Process(target=self._serve, args=(namespace, make, far, self._pipe), daemon=True)
        self._process.start()
        far.close()
        self._result("start")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self._pipe.send((method, args, kwargs))
        return self._result(method)

    def _result(self, method: str) -> Any:
        if not self._pipe.poll(60):
            raise TimeoutError(f"the worker did not answer {method}")
        ok, value = self._pipe.recv()
        if not ok:
            if isinstance(value, tuple):
                raise NullBoxError(*value)
            raise AssertionError(value)
        return value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @staticmethod
    def _serve(namespace: str, make: Callable[[], Any], pipe: Connection, near: Connection) -> None:
        near.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            enter(namespace)
            target = make()
            pipe.send((True, None))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
            os._exit(1)
        while True:
            try:
                method, args, kwargs = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            try:
                pipe.send((True, getattr(target, method)(*args, **kwargs)))
            except NullBoxError as error:
                pipe.send((False, (error.code, error.message)))
            except Exception:
                pipe.send((False, traceback.format_exc()))
