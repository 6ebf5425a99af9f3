from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.errors import NullBoxError
from nullbox.supervision.order import find_cycle, start_order, stop_order


def test_dependencies_come_first_and_otherwise_the_given_order_stays() -> None:
    graph = {"cage:b": ("egress", "ctxgraph"), "cage:a": ("egress",), "egress": (), "gateway": (), "ctxgraph": ()}
    assert start_order(graph) == ["egress", "cage:a", "gateway", "ctxgraph", "cage:b"]
    assert stop_order(graph) == start_order(graph)[::-1]


def test_without_dependencies_nothing_moves() -> None:
    assert start_order({"c": (), "a": (), "b": ()}) == ["c", "a", "b"]


def test_a_cycle_is_spelled_out() -> None:
    with pytest.raises(NullBoxError) as caught:
        start_order({"x": (), "a": ("x", "b"), "b": ("c",), "c": ("a",), "d": ("a",)})
    assert "a -> b -> c -> a" in caught.value.message


def test_a_child_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(NullBoxError, match="a -> a"):
        start_order({"a": ("a",)})


def test_an_unknown_name_is_named_with_what_there_is() -> None:
    with pytest.raises(NullBoxError, match=r"a depends on 'z', which does not exist; there are: a, b"):
        start_order({"a": ("z",), "b": ()})


@given(
    edges=st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40),
    size=st.integers(0, 13),
)
def test_any_graph_gives_an_order_or_a_real_cycle(edges: set[tuple[int, int]], size: int) -> None:
    graph = {str(n): tuple(str(b) for a, b in sorted(edges) if a == n and b < size) for n in range(size)}
    try:
        order = start_order(graph)
    except NullBoxError:
        stuck = [name for name in graph if graph[name]]
        while any(not set(graph[name]) & set(stuck) for name in stuck):
            stuck = [name for name in stuck if set(graph[name]) & set(stuck)]
        cycle = find_cycle(graph, stuck)
        assert cycle[0] == cycle[-1]
        assert all(after in graph[before] for before, after in pairwise(cycle))
    else:
        assert sorted(order) == sorted(graph)
        assert all(order.index(other) < order.index(name) for name in graph for other in graph[name])
