from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.bootstrap.cmdline import Cmdline, parse


def test_the_kernels_own_words_are_none_of_our_business() -> None:
    assert parse("root=/dev/vda ro console=ttyS0 quiet nullboxen=1") == (Cmdline(), [])


def test_known_parameters_are_taken_dashes_or_not() -> None:
    options, complaints = parse("nullbox.on-failure=reboot nullbox.heartbeat_timeout=12.5 nullbox.hostname=box-7")
    assert options == Cmdline(on_failure="reboot", heartbeat_timeout=12.5, hostname="box-7")
    assert complaints == []


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("nullbox.on_failure=explode", "must be one of hold, reboot"),
        ("nullbox.heartbeat_timeout=soon", "could not convert"),
        ("nullbox.heartbeat_timeout=nan", "from 1 to 3600"),
        ("nullbox.start_timeout=0", "from 1 to 3600"),
        ("nullbox.hostname=a_b", "letters, digits or hyphens"),
        ("nullbox.colour=red", "unknown parameter 'nullbox.colour=red'; known: heartbeat_timeout"),
    ],
)
def test_a_bad_parameter_gives_one_complaint_and_the_default(word: str, says: str) -> None:
    options, complaints = parse(f"{word} quiet")
    assert options == Cmdline()
    assert len(complaints) == 1
    assert says in complaints[0]


@given(st.text())
def test_no_command_line_stops_a_boot(text: str) -> None:
    options, _ = parse(text + " nullbox." + text)
    assert options.on_failure in ("hold", "reboot")
    assert 1 <= options.heartbeat_timeout <= 3600
