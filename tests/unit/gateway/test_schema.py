"""Parameters are checked by the table, and everything that is wrong is said at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.gateway.methods import METHODS, deadline_of
from nullbox.gateway.schema import KINDS, arguments
from nullbox.protocols.errors import ErrorCode, NullBoxError

anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


def test_every_parameter_has_a_known_kind_and_a_default_that_is_one() -> None:
    for method in METHODS.values():
        for param in method.params:
            kind = KINDS[param.kind]
            assert param.default is None or kind.check(param.default), (method.name, param.name)
            assert not (param.required and param.default is not None)


@given(st.sampled_from(sorted(METHODS)), st.dictionaries(st.text(max_size=8) | st.just("name"), anything, max_size=4))
def test_any_parameters_are_taken_or_refused_as_invalid(method: str, params: dict[str, Any]) -> None:
    try:
        arguments(method, METHODS[method].params, params)
    except NullBoxError as error:
        assert error.code is ErrorCode.INVALID


@given(st.sampled_from(sorted(KINDS)), anything)
def test_a_kind_says_yes_or_no_to_anything(kind: str, value: Any) -> None:
    assert KINDS[kind].check(value) in (True, False)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(NullBoxError) as caught:
        arguments("agent.wait", METHODS["agent.wait"].params, {"for": "dead", "timeout": -1, "nmae": "x"})
    lines = caught.value.message.splitlines()
    assert len(lines) == 4
    assert "'nmae'; it has: name, for, timeout" in lines[0]
    assert "needs 'name'" in lines[1]
    assert "for is 'dead'; allowed: one of stopped" in lines[2]
    assert "timeout is -1" in lines[3]


def test_defaults_are_filled_in() -> None:
    given = arguments("agent.wait", METHODS["agent.wait"].params, {"name": "pulse"})
    assert given == {"name": "pulse", "for": "running", "timeout": 30.0}


@pytest.mark.parametrize("name", ["Pulse", "1st", "a" * 33, "", "a_b", "a\n", 7, None])
def test_an_agents_name_is_checked(name: object) -> None:
    with pytest.raises(NullBoxError, match="name"):
        arguments("agent.stop", METHODS["agent.stop"].params, {"name": name})


def test_a_deadline_follows_the_timeout_that_was_asked_for() -> None:
    assert deadline_of("agent.wait", 120) == 125.0
    assert deadline_of("agent.wait", "soon") == METHODS["agent.wait"].deadline
    assert deadline_of("agent.wait", float("nan")) == METHODS["agent.wait"].deadline
    assert deadline_of("status", 120) == METHODS["status"].deadline
    assert deadline_of("nonsense", None) > 0
