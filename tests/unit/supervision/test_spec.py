from __future__ import annotations

from dataclasses import replace

import pytest

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.spec import (
    BRUTAL,
    INFINITY,
    RESTART_WORDS,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Heartbeat,
    OnLimit,
    Restart,
    check_specs,
    parse_restart,
)

GOOD = ChildSpec("egress", "nullbox.actors.egress.EgressActor")


def test_the_defaults_are_sound() -> None:
    assert GOOD.problems() == []
    check_specs([GOOD, replace(GOOD, id="cage:pulse", depends_on=("egress",))])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "Egress"),
        ("id", "a" * 33),
        ("id", "cage:"),
        ("id", "../x"),
        ("id", 7),
        ("start", "EgressActor"),
        ("start", "a..b"),
        ("start", None),
        ("config", []),
        ("restart", "permanent"),
        ("shutdown", -1.0),
        ("shutdown", "5s"),
        ("shutdown", float("nan")),
        ("shutdown", True),
        ("type", "worker"),
        ("significant", 1),
        ("depends_on", ["a"]),
        ("depends_on", ("egress",)),
        ("depends_on", ("a", "a")),
        ("peers", "gateway"),
        ("backoff", None),
        ("start_timeout", 0),
        ("heartbeat", 5),
        ("on_limit", "escalate"),
        ("autostart", "yes"),
        ("keeper", None),
        ("takes_turns", 1),
    ],
)
def test_a_wrong_value_is_named_with_its_field(field: str, value: object) -> None:
    found = replace(GOOD, **{field: value}).problems()
    assert [name for name, _ in found] == [field]
    assert repr(value) in found[0][1] and "allowed: " in found[0][1]


def test_every_field_is_checked() -> None:
    wrong = ChildSpec(*([object()] * 16))  # type: ignore[arg-type]
    named = {name for name, _ in wrong.problems()}
    assert named == set(ChildSpec.__slots__)  # type: ignore[attr-defined]


def test_inner_fields_are_named_with_a_dot() -> None:
    spec = replace(GOOD, backoff=Backoff(initial=-1.0), heartbeat=Heartbeat(5.0, 1.0))
    assert [name for name, _ in spec.problems()] == ["backoff.initial", "heartbeat.timeout"]


@pytest.mark.parametrize("shutdown", [BRUTAL, 0, 5, 0.25, INFINITY])
def test_shutdown_is_brutal_seconds_or_infinity(shutdown: float) -> None:
    assert replace(GOOD, shutdown=shutdown).problems() == []


def test_a_permanent_child_cannot_be_significant() -> None:
    found = replace(GOOD, significant=True).problems()
    assert [name for name, _ in found] == ["significant"]
    assert replace(GOOD, significant=True, restart=Restart.TRANSIENT).problems() == []


def test_all_errors_of_all_children_are_reported_at_once() -> None:
    with pytest.raises(NullBoxError) as caught:
        check_specs(
            [
                replace(GOOD, start_timeout=-1),
                replace(GOOD, id="b", depends_on=("nobody",)),
                replace(GOOD, id="b"),
                replace(GOOD, id="c", restart=Restart.TRANSIENT, significant=True),
            ],
            AutoShutdown.NEVER,
        )
    assert caught.value.code is ErrorCode.INVALID
    lines = caught.value.message.splitlines()
    assert [line.split()[0] for line in lines] == ["egress.start_timeout", "b.id", "c.significant", "b.depends_on"]
    assert "'nobody'" in lines[3] and "there are: c, egress" in lines[3]


def test_the_two_vocabularies_of_restart_agree() -> None:
    assert [parse_restart(word) for word in ("always", "on-failure", "never")] == list(Restart)
    assert set(RESTART_WORDS.values()) == set(Restart)
    for word in ("sometimes", "", 1, None, "Always"):
        with pytest.raises(ValueError, match="allowed: always, on-failure, never"):
            parse_restart(word)


def test_the_words_of_the_enumerations_are_otp_s() -> None:
    assert [word.value for word in Restart] == ["permanent", "transient", "temporary"]
    assert [word.value for word in ChildType] == ["worker", "supervisor"]
    assert [word.value for word in OnLimit] == ["escalate", "fail"]
