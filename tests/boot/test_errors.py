"""What goes wrong is said with the contract's code, and costs nobody else anything."""

from __future__ import annotations

import json

import pytest
from operator_view import Machine


def ask(machine: Machine, line: bytes) -> dict[str, object]:
    with machine.connect() as connection, connection.makefile("rwb") as stream:
        stream.write(line + b"\n")
        stream.flush()
        return dict(json.loads(stream.readline()))


def test_an_unknown_agent_is_not_found(machine: Machine) -> None:
    done = machine.nullctl("agent", "inspect", "nobody")
    assert done.code == 3
    assert done.out == ""
    assert "nobody" in done.err
    assert "pulse" in done.err, "the message says which agents there are"


def test_a_wrong_state_is_said_with_what_would_be_right(machine: Machine) -> None:
    machine.until_state("pulse", "running")
    done = machine.nullctl("agent", "resume", "pulse")
    assert done.code == 6
    assert "running" in done.err


@pytest.mark.parametrize("line", [b"{", b"[]", b'"x"', b'{"jsonrpc":"2.0","id":1}', b"\xff\xfe", b"null"])
def test_nonsense_is_answered_as_invalid_and_the_next_request_as_usual(machine: Machine, line: bytes) -> None:
    answer = ask(machine, line)
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["data"]["code"] == "invalid"
    assert machine.nullctl("version").code == 0


def test_an_unknown_method_is_not_found(machine: Machine) -> None:
    answer = ask(machine, b'{"jsonrpc":"2.0","id":7,"method":"make.coffee"}')
    error = answer["error"]
    assert isinstance(error, dict)
    assert answer["id"] == 7
    assert error["data"]["code"] == "not_found"


def test_a_peer_that_leaves_in_the_middle_of_a_request_costs_nobody_anything(machine: Machine) -> None:
    for half in (
        b'{"jsonrpc":"2.0","id":1,"method":"sta',
        b'{"jsonrpc":"2.0","id":1,"method":"agent.wait","params":{"name":"pulse","for":"stopped","timeout":60}}\n',
    ):
        with machine.connect() as connection:
            connection.sendall(half)
    assert machine.json("status")["healthy"] is True


def test_a_machine_that_is_not_there_is_unreachable(machine: Machine, tmp_path: object) -> None:
    done = machine.nullctl("--socket", f"{tmp_path}/none.sock", "status")
    assert done.code == 5
    assert "none.sock" in done.err
