from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.durations import parse_duration
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.settings import SERVICES, Principals, Settings, load, parse
from nullbox.supervision.spec import BRUTAL, INFINITY, Heartbeat, Restart

CONTRACT = """
[supervision]
max_restarts = 5
period = "60s"
heartbeat = { interval = "5s", timeout = "15s" }

[service.egress]
depends_on = []
restart = "always"
backoff = { initial = "1s", factor = 2.0, max = "30s", reset_after = "60s", jitter = 0.1 }
shutdown = "5s"

[gateway]
socket = "/run/nulld.sock"
operators = { uids = [0] }
readers = { gids = [] }

[cage]
driver = "krun"
"""


def test_nothing_said_is_the_builtin_configuration() -> None:
    assert parse({}) == Settings()
    assert Settings().intensity == Intensity(5, 60.0)
    assert Settings().heartbeat == Heartbeat(5.0, 15.0)
    assert Settings().operators == Principals(uids=(0,))


def test_the_example_of_the_contract() -> None:
    settings = parse(tomllib.loads(CONTRACT))
    egress = settings.services["egress"]
    assert egress.depends_on == () and egress.restart is Restart.PERMANENT
    assert egress.backoff == Backoff(1.0, 2.0, 30.0, 60.0, 0.1)
    assert egress.shutdown == 5.0
    assert settings.gateway_socket == "/run/nulld.sock"
    assert settings.driver == "krun"


@pytest.mark.parametrize(("word", "seconds"), [("brutal", BRUTAL), ("infinity", INFINITY), ("250ms", 0.25)])
def test_shutdown_words(word: str, seconds: float) -> None:
    assert parse({"service": {"gateway": {"shutdown": word}}}).services["gateway"].shutdown == seconds


def test_all_errors_are_reported_at_once_with_dotted_keys() -> None:
    with pytest.raises(NullBoxError) as caught:
        parse(
            {
                "supervision": {"max_restarts": -1, "period": 60, "heartbeat": {"interval": "5s", "timeout": "1s"}},
                "service": {
                    "egress": {"restart": "often", "depends_on": "ctxgraph", "colour": 1},
                    "gateway": {"backoff": {"factor": 0.5}, "shutdown": "soon"},
                    "llm": {},
                },
                "gateway": {"socket": "nulld.sock", "operators": {"uids": ["root"]}},
                "cage": {"driver": "docker"},
                "egress": {"learn": 1, "upstreams": ["x"]},
                "extra": 1,
            }
        )
    assert caught.value.code is ErrorCode.INVALID
    keys = [line.split()[0] for line in caught.value.message.splitlines()]
    assert keys == [
        "supervision.max_restarts",
        "supervision.period",
        "supervision.heartbeat.timeout",
        "service.egress.restart",
        "service.egress.depends_on",
        "service.egress.colour",
        "service.gateway.backoff.factor",
        "service.gateway.shutdown",
        "service.llm",
        "gateway.socket",
        "gateway.operators.uids",
        "cage.driver",
        "egress.upstreams[0]",
        "egress.learn",
        "extra",
    ]
    assert all("allowed" in line for line in caught.value.message.splitlines())


def test_a_cycle_between_services_is_named() -> None:
    with pytest.raises(NullBoxError, match="egress -> gateway -> egress"):
        parse({"service": {"egress": {"depends_on": ["gateway"]}, "gateway": {"depends_on": ["egress"]}}})


def test_an_unknown_dependency_is_named() -> None:
    with pytest.raises(NullBoxError, match="'dns', which does not exist"):
        parse({"service": {"egress": {"depends_on": ["dns"]}}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("500ms", 0.5), ("5s", 5.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("1m30s", 90.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5d", "1e3s", "5s!", 5, None, "9" * 40 + "s", "٥s"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="allowed: a duration"):
        parse_duration(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.fixed_dictionaries(
    {},
    optional={
        "supervision": st.fixed_dictionaries({}, optional={"max_restarts": plain, "period": plain, "heartbeat": plain}),
        "service": st.dictionaries(
            st.sampled_from(list(SERVICES)),
            st.fixed_dictionaries(
                {},
                optional={
                    "depends_on": plain | st.lists(st.sampled_from(list(SERVICES)), max_size=3),
                    "restart": plain,
                    "backoff": plain,
                    "shutdown": plain,
                },
            ),
        ),
        "gateway": plain,
        "cage": plain,
    },
)


@given(raw=plain.filter(lambda value: isinstance(value, dict)) | known)
def test_any_input_is_settings_or_one_documented_error(raw: dict[str, object]) -> None:
    try:
        assert isinstance(parse(raw), Settings)
    except NullBoxError as error:
        assert error.code is ErrorCode.INVALID and error.message


def test_loading(tmp_path: Path) -> None:
    path = tmp_path / "nulld.toml"
    assert load(path) == Settings()
    path.write_text(CONTRACT)
    assert load(path).driver == "krun"
    for data, match in ((b"x = ", "is not TOML"), (b"\xff", "is not TOML"), (b"#" * (2 << 20), "at most")):
        path.write_bytes(data)
        with pytest.raises(NullBoxError, match=match):
            load(path)


def test_the_gateway_may_have_a_vsock_port() -> None:
    assert parse({}).gateway_vsock == 0
    assert parse({"gateway": {"vsock": 9110}}).gateway_vsock == 9110
    for wrong in (-1, 1 << 32, True, "9110"):
        with pytest.raises(NullBoxError, match=r"gateway\.vsock is .* allowed: a vsock port"):
            parse({"gateway": {"vsock": wrong}})
