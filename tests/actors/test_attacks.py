"""Who may talk to an actor: every refusal beside the same attack working on Thespian's stock TCP base."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from listening import listening_of
from operator_view import until
from system_processes import pids

from nullbox.actors.base import BaseActor
from nullbox.actors.transport import connection, packet
from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols import codec
from nullbox.protocols.messages import Address, ChannelReady, Peers, Ping, Pong, Query, Reply, Start, Stop
from nullbox.testing import Processes

SUPPORT = Path(__file__).parents[1] / "support"
NOBODY = 65534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare(1): makes a network namespace"
)


class Witness(BaseActor):
    """Remembers who sent the pings it got."""

    def started(self, start: Any) -> None:
        self.senders: list[str] = []
        self.ready()

    def on_ping(self, ping: Ping, sender: Address) -> None:
        self.senders.append(sender.name)
        super().on_ping(ping, sender)

    def on_query(self, query: Query, sender: Address) -> None:
        transport = self._myRef.transport
        self.tell(
            sender,
            Reply(
                query.request_id,
                {
                    "senders": self.senders,
                    "refused": transport.refused_connections,
                    "malformed": transport.malformed,
                    "connections": len(transport._connections),
                    "identity": [self.child_id, self.incarnation, len(self.peers)],
                },
            ),
        )


def stock_tcp(kind: str, directory: Path) -> dict[str, Any]:
    """Run an attack on the stock base, in a network namespace that has nothing but a loopback device."""
    command = ["unshare", "-n", "--pid", "--fork", "--kill-child", sys.executable]
    done = subprocess.run(
        [*command, str(SUPPORT / "stock_tcp_attacks.py"), kind, str(directory)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "THESPLOG_FILE_MAXSIZE": "0"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that any uid may use."""
    with tempfile.TemporaryDirectory(prefix="nullbox-attack-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


class Attacker:
    """A process that is no part of the system and speaks its protocol."""

    def __init__(self, path: Path, greeting: bytes, messages: list[bytes], uid: int = 0) -> None:
        self.path, self.greeting, self.messages, self.uid = path, greeting, messages, uid

    def run(self) -> str:
        """Attack from a process of its own; what happened to it."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(theirs, self._attack().encode())
            except BaseException as error:
                os.write(theirs, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(theirs)
        with open(ours, "rb") as reader:
            outcome = reader.read().decode()
        os.waitpid(pid, 0)
        return outcome

    def _attack(self) -> str:
        if self.uid:
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(5)
        sock.connect(str(self.path))
        try:
            sock.send(self.greeting)
            for each in self.messages:
                sock.send(each)
            return "closed" if sock.recv(10) == b"" else "answered"
        except (BrokenPipeError, ConnectionResetError):
            return "closed"


PING = bytes([packet.Kind.MESSAGE]) + codec.encode(Ping(666))


def report(system: Processes, actor: Address) -> dict[str, Any]:
    answer = system.ask(actor, Query(1, "report"))
    assert isinstance(answer, Reply)
    found: dict[str, Any] = answer.value
    return found


@needs_root
@pytest.mark.net
def test_stock_tcp_runs_the_code_of_any_local_user_and_ours_does_not(
    system: Processes, directory: Path, open_to_all: Path
) -> None:
    assert stock_tcp("code", open_to_all) == {"ran as uid": "0"}

    witness = system.start(Witness)
    marker = open_to_all / "ours"

    class Payload:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(marker)!r}, 'w').write('ran')",)

    poison = bytes([packet.Kind.MESSAGE]) + pickle.dumps(Payload())
    path = directory / witness.name
    own = Attacker(path, packet.hello("actor.1.1"), [poison], uid=NOBODY)
    assert own.run().startswith("PermissionError")  # the directory keeps other users out
    directory.chmod(0o777)
    path.chmod(0o777)
    assert own.run() == "closed"  # and so does the kernel's word about who connects
    directory.chmod(0o700)
    assert not marker.exists()
    found = report(system, witness)
    assert (found["senders"], found["refused"] >= 1) == ([], True)


@needs_root
@pytest.mark.net
def test_stock_tcp_believes_any_name_and_ours_asks_the_kernel(
    system: Processes, directory: Path, open_to_all: Path
) -> None:
    assert stock_tcp("name", open_to_all) == {"believed": True}

    witness, other = system.start(Witness), system.start(Witness, child_id="other")
    for name in (other.name, "admin", system.address.name, witness.name):
        forger = Attacker(directory / witness.name, packet.hello(name), [PING])
        assert forger.run() == "closed", name
    found = report(system, witness)
    assert found["senders"] == []
    assert found["refused"] >= 4


@needs_root
@pytest.mark.net
def test_stock_tcp_listens_on_ports_and_ours_does_not(system: Processes, directory: Path, open_to_all: Path) -> None:
    assert stock_tcp("ports", open_to_all)["listening"] >= 4
    with_a_logger(system, directory, system.start(Witness))
    everyone = {os.getpid(), system.system.admin_pid, *pids(directory).values()}
    assert len(everyone) >= 5
    assert listening_of(everyone) == {}
    if shutil.which("ss"):
        lines = subprocess.run(["ss", "-lntupH"], capture_output=True, text=True, check=True).stdout.splitlines()
        assert not [line for line in lines for pid in everyone if f"pid={pid}," in line]


def test_a_process_that_took_an_actors_place_is_not_talked_to(system: Processes, directory: Path) -> None:
    """Whoever may write to the directory can replace a socket; the kernel tells who listens there."""
    witness = system.start(Witness)
    relay = system.start(Witness, child_id="relay")
    assert system.ask(witness, Ping(1)) == Pong(1)
    other = f"actor.{system.system.admin_pid}.7"
    impostor = connection.listen(directory / other)  # this process listens under a name of the administrator's
    assert system.system.tell(Address(other), Ping(2)) is Delivery.UNREACHABLE
    assert impostor.accept()[0].recv(100) == b""
    impostor.close()
    assert report(system, relay)["senders"] == []


def test_orders_are_taken_from_relations_only(system: Processes, directory: Path) -> None:
    """Any actor may send messages; orders to end, or to make actors, are for the launcher and the parent."""
    witness = system.start(Witness)
    rogue = system.start(Rogue)
    logger = with_a_logger(system, directory, witness)
    system.tell(rogue, Query(1, "attack", {"target": witness, "logger": Address(logger)}))
    assert isinstance(system.expect(Reply, sender=rogue), Reply)
    assert system.ask(witness, Ping(3)) == Pong(3)
    assert report(system, witness)["identity"] == ["witness", 1, 0]
    assert system.ask(system.nursery, Ping(4)) == Pong(4)
    assert logger in pids(directory)


def with_a_logger(system: Processes, directory: Path, witness: Address) -> str:
    """Have something logged, a message that nobody takes; the mailbox of the logger, which is made for it."""
    system.tell(witness, ChannelReady(1, "pulse", "/nowhere"))
    return until(
        lambda: next((name for name in pids(directory) if name.startswith("logger.")), None),
        seconds=10,
        what="the logger's mailbox",
        every=0.01,
    )


class Rogue(BaseActor):
    """Sends what only Thespian's own processes should."""

    def on_query(self, query: Query, sender: Address) -> None:
        from thespian.actors import ActorAddress, ActorExitRequest
        from thespian.system.logdirector import LoggerExitRequest
        from thespian.system.messages.admin import PendingActor, SystemShutdown
        from thespian.system.transport import TransmitIntent

        for order in (Stop("at once"), Peers({"egress": self.address}), Start("other", 7, {}, {})):
            self.tell(query.params["target"], order)
        transport = self._myRef.transport
        admin = ActorAddress(Address("admin"))
        for target, message in [
            (ActorAddress(query.params["target"]), ActorExitRequest()),
            (admin, SystemShutdown()),
            (admin, PendingActor("os.system", None, 1, None, None)),
            (ActorAddress(query.params["logger"]), LoggerExitRequest()),
        ]:
            transport.scheduleTransmit(None, TransmitIntent(target, message))
        self.tell(sender, Reply(query.request_id))


def test_strangers_that_never_say_who_they_are_are_bounded(system: Processes, directory: Path) -> None:
    witness = system.start(Witness)
    socks = []
    for _ in range(300):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(directory / witness.name))
        socks.append(sock)
    assert report(system, witness)["connections"] <= 64 + 3
    for sock in socks:
        sock.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x01", b"\x01\x02x", b"\x01\x01../../etc/passwd", b"\x01\x01" + b"a" * 1000, b"\xff" * 200, PING],
    ids=repr,
)
def test_nonsense_costs_the_connection_and_nothing_else(system: Processes, directory: Path, data: bytes) -> None:
    witness = system.start(Witness)
    assert Attacker(directory / witness.name, data or b"\x00", []).run() == "closed"
    assert system.ask(witness, Ping(1)) == Pong(1)


def test_malformed_messages_of_a_known_peer_are_counted_and_the_rest_is_served(
    system: Processes, directory: Path
) -> None:
    witness = system.start(Witness)
    transport = system.system._transport
    for body in (b"", b"\x01", b"\x01\xc1", b"\x09\x90", b"\x01\x92\xa4Ping\xa1x", b"\x01\x91\xa4Nope"):
        assert transport.send(witness, packet.Kind.MESSAGE, body, "nonsense")
        assert transport.send(witness, packet.Kind.SYSTEM, body, "nonsense")
    found = report(system, witness)
    assert found["malformed"] == 12
    assert system.ask(witness, Ping(1)) == Pong(1)
