from __future__ import annotations

from nullbox.protocols.messages import Address, ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.decide import decide
from nullbox.supervision.gather import Gathering
from nullbox.supervision.handles import Handles
from nullbox.supervision.spec import ChildSpec
from nullbox.supervision.state import new_state

A1, A2, B = Address("a1"), Address("a2"), Address("b")


def test_a_mailbox_is_known_by_child_and_incarnation() -> None:
    handles = Handles()
    handles.add("a", 1, A1)
    handles.add("a", 2, A2)
    assert handles.get("a", 1) is None and handles.get("a", 2) == A2
    assert handles.who(A1) == ("a", 1)
    assert handles.drop(A1) == ("a", 1) and handles.get("a", 2) == A2
    assert handles.drop(A1) is None
    assert handles.drop(A2) == ("a", 2) and handles.get("a", 2) is None


def test_peers_are_those_that_are_ready_and_may_be_known() -> None:
    specs = [
        ChildSpec("a", "x.A"),
        ChildSpec("b", "x.B", depends_on=("a",)),
        ChildSpec("g", "x.G", peers=("*",)),
        ChildSpec("s", "x.S"),
    ]
    state = new_state("sup", specs)
    handles = Handles()
    decide(state, ev.StartSupervisor(), 0.0)
    for name in ("a", "g", "s"):
        handles.add(name, 1, Address(name))
        decide(state, ev.ChildReady(name, 1), 0.0)
    handles.add("b", 1, B)
    assert handles.peers_of(state, "b") == {"a": Address("a")}
    assert handles.peers_of(state, "g") == {"a": Address("a"), "s": Address("s")}
    assert handles.peers_of(state, "s") == {}
    assert handles.those_who_know(state, "a") == ["b", "g"]
    decide(state, ev.ChildExited("a", 1, ExitReason("crash")), 0.0)
    assert handles.peers_of(state, "b") == {}


def test_a_tree_is_put_together_from_its_parts() -> None:
    def node(name: str, parent: str | None, **detail: object) -> dict[str, object]:
        return {"id": name, "parent": parent, "detail": detail}

    gathering = Gathering(
        A1,
        7,
        [node("top", None), node("in", "top", x=1), node("late", "top"), node("w", "top")],
        {A2: "in", B: "late"},
    )
    assert not gathering.take(A2, [node("in", None, strategy="s"), node("v", "in")])
    assert not gathering.take(A1, "from a stranger")
    tree = gathering.result()
    assert [n["id"] for n in tree] == ["top", "in", "v", "late", "w"]
    assert tree[1]["detail"] == {"x": 1, "strategy": "s"}
    assert "no answer" in tree[3]["detail"]["subtree"]
    assert gathering.take(B, [node("late", None)])
