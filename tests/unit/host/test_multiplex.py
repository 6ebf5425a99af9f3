"""Answers, batches and streams find their client; clients cannot touch one another's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from sizes import sized

from nullbox.host.multiplex import MAX_PENDING, Multiplexer, Send, encode
from nullbox.protocols import jsonrpc
from nullbox.protocols.framing import MAX_LINE


def up(*clients: int) -> Multiplexer:
    mux = Multiplexer()
    mux.machine_up()
    for client in clients:
        mux.add(client)
    return mux


def ask(method: str, id: Any, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "id": id, "params": params}).encode()


def only(sends: list[Send], to: int | None) -> Any:
    (send,) = sends
    assert send.to == to
    assert send.line.endswith(b"\n")
    return json.loads(send.line)


def answer(request: dict[str, Any], result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()


def opened(mux: Multiplexer, client: int, subscription: str) -> None:
    request = only(mux.from_client(client, ask("events", 1)), None)
    only(mux.from_machine(answer(request, {"subscription": subscription})), client)


def stream(subscription: str, **params: Any) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "method": "stream", "params": {"subscription": subscription, **params}}
    ).encode()


def code(message: dict[str, Any]) -> str:
    return str(message["error"]["data"]["code"])


@pytest.mark.parametrize("id", [1, "text", 2.5, None])
def test_two_clients_with_one_id_get_their_own_answers(id: Any) -> None:
    mux = up(1, 2)
    first = only(mux.from_client(1, ask("a", id)), None)
    second = only(mux.from_client(2, ask("b", id)), None)
    assert first["id"] != second["id"]
    assert only(mux.from_machine(answer(second, "for 2")), 2) == {"jsonrpc": "2.0", "id": id, "result": "for 2"}
    assert only(mux.from_machine(answer(first, "for 1")), 1) == {"jsonrpc": "2.0", "id": id, "result": "for 1"}


def test_an_error_answer_passes_as_it_is() -> None:
    mux = up(1)
    request = only(mux.from_client(1, ask("a", 7)), None)
    error = {"code": -32001, "message": "no agent", "data": {"code": "not_found", "known": ["pulse"]}}
    line = json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
    assert only(mux.from_machine(line), 1) == {"jsonrpc": "2.0", "id": 7, "error": error}


def test_a_notification_passes_without_an_id() -> None:
    message = only(up(1).from_client(1, b'{"jsonrpc":"2.0","method":"a"}'), None)
    assert "id" not in message


def test_a_batch_comes_back_as_one_line_when_its_last_answer_is_there() -> None:
    mux = up(1)
    line = b"[" + b",".join([ask("a", 1), ask("b", 2), b"17", b'{"jsonrpc":"2.0","method":"n"}']) + b"]"
    sends = mux.from_client(1, line)
    assert [send.to for send in sends] == [None] * 3
    first, second, _ = (json.loads(send.line) for send in sends)
    assert mux.from_machine(answer(second, "two")) == []
    answers = only(mux.from_machine(answer(first, "one")), 1)
    assert sorted((str(a["id"]), a.get("result"), "error" in a) for a in answers) == [
        ("1", "one", False),
        ("2", "two", False),
        ("None", None, True),
    ]


def test_a_batch_of_notifications_has_no_answer() -> None:
    sends = up(1).from_client(1, b'[{"jsonrpc":"2.0","method":"n"}]')
    assert [send.to for send in sends] == [None]


@pytest.mark.parametrize(
    ("line", "number"),
    [(b"{nonsense", -32700), (b"\xff\xfe", -32700), (b"[]", -32600), (b"3", -32600), (b'{"id":4}', -32600)],
)
def test_what_is_no_request_is_answered_here(line: bytes, number: int) -> None:
    mux = up(1)
    message = only(mux.from_client(1, line), 1)
    assert message["error"]["code"] == number
    assert code(message) == "invalid"
    assert mux.faults(1) == 1


def test_a_line_that_is_too_long_is_refused() -> None:
    message = only(up(1).too_long(1, MAX_LINE), 1)
    assert code(message) == "too_large"
    assert message["id"] is None


def test_a_request_that_only_just_fitted_is_refused_when_its_new_id_does_not() -> None:
    mux = up(1)
    for _ in range(100):
        mux.from_machine(answer(only(mux.from_client(1, ask("a", 1)), None), None))
    frame = '{"jsonrpc":"2.0","method":"a","params":{"p":"%s"},"id":1}'
    line = (frame % ("x" * (MAX_LINE - len(frame) + 2))).encode()
    assert len(line) == MAX_LINE
    assert code(only(mux.from_client(1, line), 1)) == "too_large"


def test_text_does_not_grow_on_its_way() -> None:
    request = {"jsonrpc": "2.0", "method": "a", "params": {"p": "ü€"}}
    assert "ü€".encode() in encode(request)
    assert json.loads(encode({"p": "\ud800"})) == {"p": "\ud800"}


def test_streams_reach_the_client_that_opened_them() -> None:
    mux = up(1, 2)
    opened(mux, 1, "s1")
    opened(mux, 2, "s2")
    assert only(mux.from_machine(stream("s2", value=5)), 2)["params"]["value"] == 5
    assert only(mux.from_machine(stream("s1", end=True)), 1)["params"]["end"]
    assert mux.from_machine(stream("s1", value=6)) == []
    assert mux.from_machine(stream("unknown", value=6)) == []


def test_a_stream_can_be_cancelled_by_its_owner_only() -> None:
    mux = up(1, 2)
    opened(mux, 1, "s1")
    refused = only(mux.from_client(2, ask("stream.cancel", 9, subscription="s1")), 2)
    assert code(refused) == "not_found"
    request = only(mux.from_client(1, ask("stream.cancel", 9, subscription="s1")), None)
    assert request["params"] == {"subscription": "s1"}
    only(mux.from_machine(answer(request, None)), 1)
    assert mux.from_machine(stream("s1", value=1)) == []


def test_the_streams_of_a_client_that_left_are_cancelled() -> None:
    mux = up(1)
    opened(mux, 1, "s1")
    request = only(mux.remove(1), None)
    assert (request["method"], request["params"]) == ("stream.cancel", {"subscription": "s1"})
    assert mux.from_machine(answer(request, None)) == []


def test_a_stream_that_opens_after_its_client_left_is_cancelled() -> None:
    mux = up(1)
    request = only(mux.from_client(1, ask("events", 1)), None)
    assert mux.remove(1) == []
    cancel = only(mux.from_machine(answer(request, {"subscription": "late"})), None)
    assert cancel["params"] == {"subscription": "late"}


def test_an_answer_for_a_client_that_left_goes_nowhere_even_if_its_key_is_used_again() -> None:
    mux = up(1)
    request = only(mux.from_client(1, ask("a", 1)), None)
    mux.remove(1)
    mux.add(1)
    assert mux.from_machine(answer(request, "old")) == []


def test_before_the_machine_is_up_requests_are_unavailable() -> None:
    mux = Multiplexer()
    mux.add(1)
    assert code(only(mux.from_client(1, ask("status", 1)), 1)) == "unavailable"
    assert mux.from_client(1, b'{"jsonrpc":"2.0","method":"n"}') == []


def test_when_the_machine_goes_all_that_is_under_way_fails_and_streams_end() -> None:
    mux = up(1, 2)
    opened(mux, 2, "s")
    mux.from_client(1, ask("a", "x"))
    mux.from_client(1, b"[" + ask("b", 1) + b"," + ask("c", 2) + b"]")
    sends = mux.machine_down("it died")
    single, batch, ended = (json.loads(send.line) for send in sends)
    assert [send.to for send in sends] == [1, 1, 2]
    assert (single["id"], code(single)) == ("x", "unavailable")
    assert [code(item) for item in batch] == ["unavailable", "unavailable"]
    assert ended["params"]["end"] and ended["params"]["error"]["message"] == "it died"
    assert mux.in_flight(1) == 0
    mux.machine_up()
    assert only(mux.from_client(1, ask("a", 1)), None)["method"] == "a"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{half",
        b"\xff",
        b"3",
        b"null",
        b"[1,[]]",
        b'{"jsonrpc":"2.0","id":99,"result":1}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}',
        b'{"jsonrpc":"2.0","method":"stream","params":3}',
        b'{"jsonrpc":"2.0","method":"stream","params":{"subscription":[]}}',
        b"[" * 100_000,
    ],
)
def test_what_the_machine_sends_that_belongs_to_nobody_is_dropped(line: bytes) -> None:
    assert up(1).from_machine(line) == []


def test_requests_of_clients_that_come_and_go_are_bounded() -> None:
    mux = up()
    for key in range(MAX_PENDING):
        mux.add(key)
        only(mux.from_client(key, ask("a", 1)), None)
        mux.remove(key)
    mux.add(-1)
    assert code(only(mux.from_client(-1, ask("a", 1)), -1)) == "unavailable"


@settings(max_examples=sized(300))
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"{}", b'{"jsonrpc":"2.0"}']))))
def test_no_line_of_a_client_raises_or_reaches_the_machine_malformed(lines: list[bytes]) -> None:
    mux = up(1)
    for line in lines:
        for send in mux.from_client(1, line):
            if send.to is None:
                assert not isinstance(jsonrpc.parse(send.line), jsonrpc.Invalid)


@settings(max_examples=sized(300))
@given(st.one_of(st.binary(max_size=60), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_no_line_of_the_machine_raises(line: bytes | str) -> None:
    up(1).from_machine(line if isinstance(line, bytes) else line.encode())


class Conversations(RuleBasedStateMachine):
    """Any mix of clients coming, asking and going, and of a machine answering in any order."""

    requests = Bundle("requests")

    @initialize()
    def start(self) -> None:
        self.mux = up()
        self.next_key = 0
        self.clients: set[int] = set()
        self.expected: dict[int, int] = {}
        self.token = 0

    @rule()
    def come(self) -> None:
        self.next_key += 1
        self.mux.add(self.next_key)
        self.clients.add(self.next_key)

    @rule(target=requests, data=st.data())
    def request(self, data: st.DataObject) -> tuple[dict[str, Any], int, int] | None:
        if not self.clients:
            return None
        client = data.draw(st.sampled_from(sorted(self.clients)))
        self.token += 1
        return only(self.mux.from_client(client, ask("a", self.token)), None), client, self.token

    @rule(item=consumes(requests))
    def reply(self, item: tuple[dict[str, Any], int, int] | None) -> None:
        if item is None:
            return
        request, client, token = item
        sends = self.mux.from_machine(answer(request, token))
        if client in self.clients:
            assert only(sends, client) == {"jsonrpc": "2.0", "id": token, "result": token}
        else:
            assert sends == []

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        if self.clients:
            client = data.draw(st.sampled_from(sorted(self.clients)))
            self.clients.discard(client)
            assert self.mux.remove(client) == []

    @invariant()
    def nobody_has_less_than_nothing_under_way(self) -> None:
        assert all(self.mux.in_flight(client) >= 0 for client in getattr(self, "clients", ()))


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=sized(60), stateful_step_count=40)
