"""Mutated packets crash nothing: the codecs, the assembler, and an actor that gets them over its socket.

1,000,000 of them with NULLBOX_FULL=1 (`make fuzz`), a tenth in `make test`. NULLBOX_FUZZ sets the number, SEED repeats
a run.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from message_strategies import any_message, of_class
from sizes import sized

from nullbox.actors.base import BaseActor
from nullbox.actors.transport import naming, packet, system_messages
from nullbox.actors.transport.packet import Assembler, Kind, PacketError
from nullbox.protocols import codec
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import Address, Ping, Pong, Start, Stop
from nullbox.testing import processes

COUNT = int(os.environ.get("NULLBOX_FUZZ", sized(100_000, full=1_000_000)))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
LIVE = 10
"""One packet in so many also goes to a living actor."""
INTERESTING = [
    b"\xc0",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdc\x10\x00",
]
INTERESTING += [
    b"\xd8\x01",
    b"\xc7\x02\x02\x92\xa4",
    b"\xcf" + b"\xff" * 8,
    b"\xcb\x7f\xf8" + b"\x00" * 6,
    b"\x91" * 40,
]
"""Bytes that mean something to msgpack: huge headers, extensions, extreme numbers, depth."""


def corpus(strategy: Any, encode: Callable[[Any], bytes], count: int) -> list[bytes]:
    """Valid packets to start from."""
    found: list[bytes] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(message: Any) -> None:
        found.append(encode(message))

    collect()
    return found


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw) + 1)
        choice = rng.randrange(6)
        if choice == 0 and raw:
            raw[at % len(raw)] = rng.randrange(256)
        elif choice == 1 and raw:
            raw[at % len(raw)] ^= 1 << rng.randrange(8)
        elif choice == 2:
            raw[at:at] = rng.choice(INTERESTING)
        elif choice == 3:
            del raw[at : at + rng.randint(1, 8)]
        elif choice == 4:
            other = rng.choice(others)
            raw[at:] = other[rng.randrange(len(other)) :]
        else:
            raw[at : at + 1] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
    return bytes(raw[:4096])


def mutants(seeds: list[bytes], count: int, rng: random.Random) -> Iterator[bytes]:
    for _ in range(count):
        yield mutate(rng.choice(seeds), rng, seeds)


@pytest.fixture
def rng() -> random.Random:
    print(f"SEED={SEED}")
    return random.Random(SEED)


def test_the_codec_raises_its_one_error(rng: random.Random) -> None:
    seeds = corpus(any_message(), codec.encode, 300)
    accepted = 0
    for data in mutants(seeds, COUNT // 2, rng):
        try:
            message = codec.decode(data)
        except CodecError:
            continue
        accepted += 1
        codec.encode(message)
    assert 0 < accepted < COUNT // 2  # the mutants are near enough to be interesting


def test_the_codec_of_thespians_messages_raises_its_one_error(rng: random.Random) -> None:
    seeds = [
        data
        for twin in system_messages._ORIGINALS
        for data in corpus(of_class(twin), system_messages._CODEC.encode, 20)
    ]
    for data in mutants(seeds, COUNT // 4, rng):
        try:
            system_messages.decode(data)
        except CodecError:
            continue


def test_the_assembler_raises_its_one_error(rng: random.Random) -> None:
    seeds = [bytes([kind | more]) + b"x" * 20 for kind in Kind for more in (0, packet.MORE)]
    assembler = Assembler()
    for data in mutants(seeds, COUNT // 4, rng):
        if not data:
            continue
        try:
            assembler.feed(memoryview(data))
        except PacketError:
            assembler = Assembler()
        try:
            packet.parse_hello(data)
        except PacketError:
            continue


class Hardy(BaseActor):
    """Does not stop or start again when a mutant happens to say so."""

    def on_stop(self, stop: Stop, sender: Address) -> None: ...

    def on_start(self, start: Start, sender: Address) -> None:
        if not self.incarnation:
            super().on_start(start, sender)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_living_actor_serves_on(rng: random.Random) -> None:
    seeds = [bytes([Kind.MESSAGE]) + data for data in corpus(any_message(), codec.encode, 150)]
    seeds += [bytes([Kind.SYSTEM]) + system_messages.encode(message) for message in thespians()]
    with processes() as system:
        hardy = system.start(Hardy)
        pid = int(hardy.name.split(".")[1])
        path = system.system._transport.place.directory / hardy.name
        sock: socket.socket | None = None
        before = resident(pid)
        for number, data in enumerate(mutants(seeds, COUNT // LIVE, rng)):
            if sock is None:
                sock = greeted(path)
            try:
                sock.send(data or b"\x00")
            except OSError:
                sock.close()
                sock = None
            if number % 500 == 0:
                assert system.ask(hardy, Ping(number), 30) == Pong(number)
        assert system.ask(hardy, Ping(-1), 30) == Pong(-1)
        assert resident(pid) - before < 64 * 1024 * 1024


def thespians() -> list[Any]:
    from thespian.actors import ActorExitRequest
    from thespian.system.logdirector import LoggerExitRequest
    from thespian.system.messages.admin import QueryExists, SystemShutdown
    from thespian.system.messages.multiproc import EndpointConnected

    return [ActorExitRequest(), LoggerExitRequest(), QueryExists(), SystemShutdown(), EndpointConnected(3)]


def greeted(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(30)
    until = time.monotonic() + 30
    while True:
        try:
            sock.connect(str(path))
            break
        except BlockingIOError:
            assert time.monotonic() < until
    sock.send(packet.hello(naming.name(naming.EXTERNAL, os.getpid(), naming.serial())))
    return sock
