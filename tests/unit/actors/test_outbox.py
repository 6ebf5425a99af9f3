"""The bounded queue of one peer: refuse what does not fit, keep order, say what is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nullbox.actors.transport import outbox as outbox_module
from nullbox.actors.transport.outbox import MAX_BYTES, MAX_MESSAGES, Delivery, Outbox


def test_it_takes_as_many_messages_as_it_says_and_refuses_the_next() -> None:
    outbox = Outbox()
    assert all(outbox.offer("m", [b"x"]) for _ in range(MAX_MESSAGES))
    assert not outbox.offer("m", [b"x"])
    outbox.sent()
    assert outbox.offer("m", [b"x"])


def test_it_takes_as_many_bytes_as_it_says_and_refuses_the_next() -> None:
    outbox = Outbox()
    assert outbox.offer("m", [bytes(MAX_BYTES)])
    assert not outbox.offer("m", [b"x"])


def test_one_message_may_be_larger_than_that_where_nothing_else_waits() -> None:
    outbox = Outbox()
    assert outbox.offer("huge", [bytes(MAX_BYTES), bytes(MAX_BYTES)])
    assert outbox.bytes == 2 * MAX_BYTES


def test_a_message_that_is_partly_sent_counts_until_it_is_gone() -> None:
    outbox = Outbox()
    outbox.offer("m", [b"a", b"b"])
    outbox.sent()
    assert (len(outbox), outbox.head()) == (1, b"b")
    outbox.sent()
    assert (len(outbox), outbox.head(), outbox.bytes) == (0, None, 0)


def test_what_is_abandoned_is_named() -> None:
    outbox = Outbox()
    outbox.offer("first", [b"a", b"b"])
    outbox.offer("second", [b"c"])
    outbox.sent()
    assert outbox.abandon() == ["first", "second"]
    assert (len(outbox), outbox.bytes) == (0, 0)


@given(st.lists(st.one_of(st.lists(st.binary(max_size=8), min_size=1, max_size=3), st.none()), max_size=60))
def test_packets_leave_in_order_and_the_books_balance(steps: list[list[bytes] | None]) -> None:
    outbox, expected = Outbox(), []
    for step in steps:
        if step is not None:
            assert outbox.offer("m", step)
            expected.extend(step)
        elif expected:
            assert outbox.head() == expected.pop(0)
            outbox.sent()
        assert (outbox.head() is None) == (not expected)
    while expected:
        assert outbox.head() == expected.pop(0)
        outbox.sent()
    assert outbox.bytes == 0


def test_only_what_is_accepted_is_true() -> None:
    assert [bool(each) for each in Delivery] == [True, False, False]
    assert outbox_module.MAX_BYTES >= outbox_module.MAX_MESSAGES * 200
