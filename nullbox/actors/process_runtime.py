"""What runs an actor in a process of its own: the transport and its children, as the actor sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NoReturn

from nullbox.actors import dispatch, process
from nullbox.actors.base import BaseActor
from nullbox.actors.children import Children
from nullbox.actors.runtime import Timer
from nullbox.actors.transport.poller import READABLE
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import REGISTRY, Address


class ProcessRuntime:
    """Implements `runtime.Runtime`."""

    def __init__(
        self,
        transport: UnixTransport,
        children: Children,
        run_child: Callable[[type, str, UnixTransport], object],
    ) -> None:
        self._transport = transport
        self._children = children
        self._run_child = run_child
        self.tell = transport.tell

    @property
    def address(self) -> Address:
        return self._transport.address

    @property
    def parent(self) -> Address:
        return self._transport.place.parent or Address("")

    def call(self, function: Callable[..., object], *arguments: object) -> bool:
        return self._transport.poller.call(function, *arguments)

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return self._transport.poller.after(seconds, callback)

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        self._transport.poller.register(fd, READABLE, lambda _events: callback())

    def unwatch(self, fd: int) -> None:
        self._transport.poller.unregister(fd)

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        with contextlib.suppress(TypeError):  # made here, all children of the class share it; an error is the child's
            dispatch.handlers_of(actor_class, REGISTRY)
        child = self._children.spawn(
            lambda transport: self._run_child(actor_class, child_id, transport),
            linked=not actor_class.survives_parent,
        )
        return child.address

    def kill(self, address: Address) -> None:
        self._children.kill(address)

    def is_child(self, address: Address) -> bool:
        return self._children.get(address) is not None

    def children(self) -> list[Address]:
        return self._children.addresses()

    def flush(self, seconds: float) -> bool:
        return self._transport.drain(seconds)

    def end(self, status: int) -> NoReturn:
        self._transport.close()
        process.end(status)
