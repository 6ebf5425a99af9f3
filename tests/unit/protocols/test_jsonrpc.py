"""JSON-RPC 2.0 messages: what the specification says, and that nothing a peer sends raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import EXIT_CODES, ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Batch, ErrorAnswer, Invalid, Request, Result, RpcError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_every_word_has_a_number_and_an_exit_code() -> None:
    assert set(jsonrpc.NUMERIC_CODES) == set(ErrorCode) == set(EXIT_CODES)
    assert len(set(jsonrpc.NUMERIC_CODES.values())) == len(ErrorCode)
    assert {jsonrpc.WORDS[number] for number in jsonrpc.NUMERIC_CODES.values()} == set(ErrorCode)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"jsonrpc":"2.0","method":"status","id":1}',
            Request("status", {}, 1),
        ),
        (
            '{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":"a"}',
            Request("subtract", [42, 23], "a"),
        ),
        (
            '{"jsonrpc":"2.0","method":"update","params":{"a":1}}',
            Request("update", {"a": 1}, None, notification=True),
        ),
        (
            '{"jsonrpc":"2.0","method":"odd but legal","id":null}',
            Request("odd but legal", {}, None, notification=False),
        ),
    ],
)
def test_requests_and_notifications(line: str, expected: Request) -> None:
    assert jsonrpc.parse(line.encode()) == expected


@pytest.mark.parametrize(
    ("line", "number", "id", "says"),
    [
        (b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', -32700, None, "not a JSON text"),
        (b"\xff\xfe", -32700, None, "not a JSON text"),
        (b"[" * 200_000, -32700, None, "nested too deeply"),
        (b'{"jsonrpc":"2.0","method":"m","id":NaN}', -32700, None, "NaN"),
        (b'{"jsonrpc":"2.0","method":"m","id":1e999}', -32700, None, "double"),
        (b"9" * 5000, -32700, None, "not a JSON text"),
        (b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}', -32600, None, '"method" must be a string'),
        (b'{"jsonrpc":"2.0","method":"m","params":"bar","id":7}', -32600, 7, '"params"'),
        (b'{"jsonrpc":"1.0","method":"m","id":7}', -32600, 7, '"2.0"'),
        (b'{"jsonrpc":"2.0","method":"m","id":true}', -32600, None, "an id is"),
        (b'{"jsonrpc":"2.0","method":"m","id":{}}', -32600, None, "an id is"),
        (b"[]", -32600, None, "empty batch"),
        (b"42", -32600, None, "object"),
        (b"[" + b",".join([b"1"] * 101) + b"]", -32600, None, "at most 100"),
    ],
)
def test_what_is_wrong_is_said(line: bytes, number: int, id: Any, says: str) -> None:
    got = jsonrpc.parse(line)
    assert isinstance(got, Invalid)
    assert (got.error.number, got.id) == (number, id)
    assert says in got.error.message


def test_a_batch_keeps_its_order_and_its_bad_members() -> None:
    got = jsonrpc.parse(b'[{"jsonrpc":"2.0","method":"a","id":1}, 1, {"jsonrpc":"2.0","method":"b"}]')
    assert isinstance(got, Batch)
    first, second, third = got.items
    assert first == Request("a", {}, 1)
    assert isinstance(second, Invalid)
    assert third == Request("b", {}, None, notification=True)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_parse_never_raises(line: bytes) -> None:
    assert isinstance(jsonrpc.parse(line), Request | Invalid | Batch)


@given(json_values)
def test_parse_never_raises_for_any_json(value: Any) -> None:
    assert isinstance(jsonrpc.parse(json.dumps(value).encode()), Request | Invalid | Batch)


@given(
    st.sampled_from(ErrorCode),
    st.text(),
    st.dictionaries(st.text().filter(lambda k: k != "code"), json_values),
)
def test_an_error_survives_the_way_there_and_back(code: ErrorCode, message: str, data: dict[str, Any]) -> None:
    line = jsonrpc.encode(jsonrpc.failure(1, NullBoxError(code, message, data)))
    got = jsonrpc.parse_answer(line)
    assert isinstance(got, ErrorAnswer)
    assert (got.error.code, got.error.message, got.error.data) == (code, message, data)


@given(json_values)
def test_a_result_survives_and_is_one_line(value: Any) -> None:
    line = jsonrpc.encode(jsonrpc.result("x", value))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert jsonrpc.parse_answer(line) == Result("x", value)


def test_a_lone_surrogate_can_come_in_and_go_out() -> None:
    got = jsonrpc.parse(b'{"jsonrpc":"2.0","method":"m","params":{"a":"\\ud800"},"id":1}')
    assert isinstance(got, Request)
    assert b"\\ud800" in jsonrpc.encode(jsonrpc.result(1, got.params))


def test_an_error_of_another_implementation_gets_its_word_from_its_number() -> None:
    got = jsonrpc.error_from({"code": -32601, "message": "Method not found"})
    assert (got.code, got.number) == (ErrorCode.NOT_FOUND, -32601)
    assert jsonrpc.error_from({"code": 17, "message": "?", "data": [1]}).code is ErrorCode.INTERNAL


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"{}", b'{"jsonrpc":"2.0","id":1,"error":"no"}'])
def test_an_answer_that_is_none_raises_invalid(line: bytes) -> None:
    with pytest.raises(NullBoxError) as caught:
        jsonrpc.parse_answer(line)
    assert caught.value.code is ErrorCode.INVALID


def test_stream_notifications_are_requests_of_the_client_side() -> None:
    value = jsonrpc.parse_answer(jsonrpc.encode(jsonrpc.stream_value("s1", {"a": 1})))
    assert value == Request("stream", {"subscription": "s1", "value": {"a": 1}}, None, notification=True)
    end = jsonrpc.stream_end("s1", RpcError(ErrorCode.UNAVAILABLE, "gone"))
    assert end["params"]["error"]["data"]["code"] == "unavailable"


@given(json_values, st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False))
def test_an_encoded_value_makes_the_same_answer(value: Any, id: Any) -> None:
    text = json.dumps(value).encode()
    line = jsonrpc.encode_result(id, jsonrpc.Encoded(text))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == json.loads(jsonrpc.encode(jsonrpc.result(id, value)))
