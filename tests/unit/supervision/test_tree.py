from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.codec import decode, encode
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Start
from nullbox.supervision import tree
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.discovery import discover, find_agent
from nullbox.supervision.settings import SERVICES, parse
from nullbox.supervision.spec import ChildSpec, ChildType, Heartbeat, OnLimit, Restart, check_specs
from nullbox.supervision.state import new_state

LAYOUT = Layout(Path("/r"), Path("/s"), Path("/y"))
AGENTS = [
    tree.AgentEntry("pulse", Path("/y/agents/pulse")),
    tree.AgentEntry("reader", Path("/y/agents/reader"), Restart.TEMPORARY, autostart=False),
]


def test_the_default_tree_starts_services_first_then_cages() -> None:
    state = new_state("nulld", tree.root_specs(parse({}), AGENTS, LAYOUT))
    assert list(state.children) == ["egress", "ctxgraph", "gateway", "cage:pulse", "cage:reader"]
    assert state.dependents["egress"] == state.dependents["ctxgraph"] == ["cage:pulse", "cage:reader"]


def test_cages_fail_alone_keep_their_vm_and_follow_the_manifest() -> None:
    pulse, reader = (tree.cage_spec(agent, parse({}), LAYOUT) for agent in AGENTS)
    for cage in (pulse, reader):
        assert cage.on_limit is OnLimit.FAIL and cage.keeper and cage.shutdown == 20.0
        assert cage.depends_on == ("egress", "ctxgraph")
    assert pulse.restart is Restart.TRANSIENT and pulse.autostart
    assert reader.restart is Restart.TEMPORARY and not reader.autostart
    assert pulse.config["agent"] == "pulse" and pulse.config["folder"] == "/y/agents/pulse"


def test_the_services_are_those_of_the_configuration_and_no_cage_may_escalate() -> None:
    assert set(tree.SERVICES) == set(SERVICES)
    assert all(spec.on_limit is OnLimit.ESCALATE for spec in tree.SERVICES.values())


def test_configuration_changes_what_it_names_and_nothing_else() -> None:
    settings = parse(
        {
            "supervision": {"heartbeat": {"interval": "1s", "timeout": "2s"}},
            "service": {"gateway": {"depends_on": ["ctxgraph"], "shutdown": "1s", "start_timeout": "3s"}},
        }
    )
    by_id = {spec.id: spec for spec in tree.service_specs(settings, LAYOUT)}
    gateway = by_id["gateway"]
    assert (gateway.depends_on, gateway.shutdown, gateway.start_timeout) == (("ctxgraph",), 1.0, 3.0)
    assert gateway.restart is Restart.PERMANENT and gateway.peers == ("*",)
    assert by_id["egress"].shutdown == 5.0
    assert all(spec.heartbeat == Heartbeat(1.0, 2.0) for spec in by_id.values())


def test_the_configs_are_message_data() -> None:
    for spec in tree.root_specs(parse({}), AGENTS, LAYOUT):
        start = Start(spec.id, 1, dict(spec.config), {})
        assert decode(encode(start)) == start
        assert Layout.from_plain(spec.config["layout"]) == LAYOUT
    gateway = next(s for s in tree.service_specs(parse({}), LAYOUT) if s.id == "gateway")
    assert gateway.config["socket"] == "/r/nulld.sock"
    assert gateway.config["operators"] == {"uids": [0], "gids": []}


def test_egress_goes_by_its_table_and_the_gateway_shows_it() -> None:
    table = {"uplinks": ["eth0"], "exceptions": ["10.0.2.0/24"]}
    configs = {spec.id: spec.config for spec in tree.service_specs(parse({"egress": table}), LAYOUT)}
    assert configs["egress"]["egress"] == configs["gateway"]["egress"] == {**table, "upstreams": [], "learn": False}
    assert "egress" not in configs["ctxgraph"]


@pytest.mark.parametrize("name", [*tree.SERVICES, "cage"])
def test_the_actors_that_the_tree_names_exist(name: str) -> None:
    start = tree.CAGE_ACTOR if name == "cage" else tree.SERVICES[name].start
    module, _, cls = start.rpartition(".")
    assert hasattr(importlib.import_module(module), cls)


specs = st.builds(
    ChildSpec,
    id=st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True),
    start=st.just("a.b.C"),
    config=st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**63) | st.text(max_size=5), max_size=3),
    restart=st.sampled_from(list(Restart)),
    shutdown=st.sampled_from([0.0, 5.0, float("inf")]),
    type=st.sampled_from(list(ChildType)),
    depends_on=st.sampled_from([(), ("x",), ("x", "y")]),
    backoff=st.builds(Backoff, initial=st.floats(0.0, 10.0), max=st.floats(10.0, 60.0)),
    start_timeout=st.floats(0.1, 100.0),
    heartbeat=st.none() | st.just(Heartbeat(1.0, 3.0)),
    on_limit=st.sampled_from(list(OnLimit)),
    autostart=st.booleans(),
    keeper=st.booleans(),
    takes_turns=st.booleans(),
    peers=st.sampled_from([(), ("*",), ("x",)]),
)


@given(spec=specs)
def test_specs_survive_the_way_through_a_message(spec: ChildSpec) -> None:
    start = decode(encode(Start("s", 1, {"children": [tree.spec_to_plain(spec)]}, {})))
    assert isinstance(start, Start)
    assert tree.spec_from_plain(start.config["children"][0]) == spec


def test_discovery_takes_what_is_sound_and_reports_the_rest(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "r", tmp_path / "s", tmp_path / "y")
    assert discover(layout).entries == {}
    bundled = {
        "pulse": '[agent]\nname = "pulse"\n',
        "wrong": '[agent]\nname = "wrong"\nrestart = "often"\n',
        "moved": '[agent]\nname = "elsewhere"\n',
        "large": "#" * 100_000,
        ".being-written": '[agent]\nname = "x"\n',
    }
    deployed = {"pulse": '[agent]\nname = "pulse"\nrestart = "never"\nautostart = false\n'}
    for parent, agents in ((layout.bundled_agents, bundled), (layout.deployed_agents, deployed)):
        for name, text in agents.items():
            (parent / name).mkdir(parents=True)
            (parent / name / "AGENT.toml").write_text(text)
    (layout.bundled_agents / "no-manifest").mkdir()
    found = discover(layout)
    assert list(found.entries) == ["pulse"]
    pulse = found.entries["pulse"]
    assert pulse.folder == layout.deployed_agents / "pulse"
    assert pulse.restart is Restart.TEMPORARY and not pulse.autostart
    assert sorted(Path(folder).name for folder in found.refused) == ["large", "moved", "wrong"]
    assert "agent.restart" in found.refused[str(layout.bundled_agents / "wrong")]
    assert find_agent(layout, "pulse") == pulse and find_agent(layout, "nobody") is None
    check_specs([replace(spec, depends_on=()) for spec in [tree.cage_spec(pulse, parse({}), layout)]])
