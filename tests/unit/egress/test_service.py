"""The service over in-memory twins: order of effects, repetition, failure, restart."""

from __future__ import annotations

import pytest

from nullbox.egress.memory import MemoryFirewall, MemoryResolvers, MemoryTaps
from nullbox.egress.policy import parse_policy
from nullbox.egress.ruleset import Base, element, link_commands
from nullbox.egress.service import EgressService
from nullbox.egress.slots import Slot
from nullbox.protocols.errors import ErrorCode, NullBoxError

POLICY = parse_policy(["api.example.com", "b.example.com:8443"], 100)


class Machine:
    """One machine's kernel state, which outlives any service that works on it."""

    def __init__(self) -> None:
        self.taps = MemoryTaps()
        self.firewall = MemoryFirewall()
        self.firewall.on_apply = lambda commands: self.taps.log.append("rules")

    def boot(self) -> EgressService:
        service = EgressService(Base(("eth0",)), self.firewall, self.taps)
        service.prepare()
        return service


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_rules_come_before_forwarding_and_before_the_tap_is_up(machine: Machine) -> None:
    machine.boot().open_link("pulse", POLICY)
    assert machine.taps.log == ["rules", "forward", "create nb0", "rules", "up nb0"]


def test_the_tap_goes_before_its_rules(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    machine.taps.log.clear()
    service.close_link("pulse")
    assert machine.taps.log == ["remove nb0", "rules"]
    for name in ("agents", "sources", "resolvers", "live", "budgets"):
        assert machine.firewall.elements(name) == []


def test_what_a_cage_is_told(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    told = service.open_link("reader", POLICY, 1001)
    assert (told.tap, told.gateway_address, told.guest_address, told.prefix) == ("nb1", "10.90.0.5", "10.90.0.6", 30)
    assert told.mac == "5a:94:ef:00:00:01"
    assert machine.taps.taps[Slot(1)].owner == 1001


def test_opening_again_changes_nothing(machine: Machine) -> None:
    service = machine.boot()
    first = service.open_link("pulse", POLICY)
    before = service.rules()
    assert service.open_link("pulse", POLICY) == first
    assert service.rules() == before


def test_closing_twice_or_never_opened_is_harmless(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    service.close_link("pulse")
    service.close_link("pulse")
    service.close_link("nobody")


def test_a_refused_transaction_leaves_no_tap_behind(machine: Machine) -> None:
    service = machine.boot()
    machine.firewall.fail_next = True
    with pytest.raises(NullBoxError):
        service.open_link("pulse", POLICY)
    assert machine.taps.list() == []
    assert service.links == {}
    assert service.open_link("pulse", POLICY).tap == "nb0"


def test_a_refused_change_keeps_the_old_grants(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    before = service.rules("pulse")
    machine.firewall.fail_next = True
    with pytest.raises(NullBoxError):
        service.open_link("pulse", parse_policy(["evil.example.com"]))
    assert service.rules("pulse") == before


def test_a_restarted_service_finds_its_links_and_their_marks(machine: Machine) -> None:
    first = machine.boot()
    first.open_link("pulse", POLICY)
    first.open_link("reader", POLICY)
    first.close_link("pulse")
    second = machine.boot()
    assert second.rules() == first.rules()
    assert second.reconcile(["reader"]) == []
    before = second.links["reader"].marks
    second.open_link("reader", POLICY)
    assert second.links["reader"].marks == before
    second.open_link("pulse", POLICY)
    assert not set(second.links["pulse"].marks.values()) & set(before.values())


def test_marks_are_not_reused_after_a_restart(machine: Machine) -> None:
    first = machine.boot()
    first.open_link("pulse", POLICY)
    used = set(first.links["pulse"].marks.values())
    first.close_link("pulse")
    second = machine.boot()
    second.open_link("other", POLICY)
    assert not used & set(second.links["other"].marks.values())


def test_reconciling_removes_what_nobody_owns(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    service.open_link("gone", POLICY)
    machine.taps.create(Slot(9), "", 0)
    machine.taps.create(Slot(10), "stray", 0)
    assert service.reconcile(["pulse"]) == ["gone", "nb9", "stray"]
    assert [tap.agent for tap in machine.taps.list()] == ["pulse"]


def test_a_link_whose_tap_vanished_is_dropped(machine: Machine) -> None:
    service = machine.boot()
    service.open_link("pulse", POLICY)
    machine.taps.remove(Slot(0))
    assert service.reconcile(["pulse"]) == ["pulse"]
    assert machine.firewall.elements("live") == []


def test_a_stray_tap_is_not_given_to_another_agent(machine: Machine) -> None:
    machine.taps.create(Slot(0), "", 0)
    service = machine.boot()
    assert service.open_link("pulse", POLICY).tap == "nb1"


def test_rules_of_an_unknown_agent(machine: Machine) -> None:
    with pytest.raises(NullBoxError) as caught:
        machine.boot().rules("nobody")
    assert caught.value.code is ErrorCode.NOT_FOUND


def nothing_left(machine: Machine) -> bool:
    names = [("inet", name) for name in ("agents", "sources", "resolvers", "live", "budgets", "grants")]
    return all(machine.firewall.elements(name, family) == [] for family, name in [*names, ("arp", "sources")])


def test_closing_removes_also_a_link_that_only_the_kernel_knows(machine: Machine) -> None:
    first, second = machine.boot(), machine.boot()
    first.open_link("pulse", POLICY)
    second.close_link("pulse")
    assert machine.taps.list() == []
    assert nothing_left(machine)


def test_a_link_whose_agent_is_gone_without_a_word_is_closed(machine: Machine) -> None:
    service = machine.boot()
    for agent in ("pulse", "reader"):
        service.open_link(agent, POLICY)
    assert service.close_orphans(["reader", "other"]) == ["pulse"]
    assert set(service.links) == {"reader"}
    assert [tap.agent for tap in machine.taps.list()] == ["reader"]
    assert service.close_orphans(["reader"]) == []


@pytest.mark.parametrize("agent", ["pulse", ""])
def test_a_second_link_of_an_agent_and_one_of_nobody_are_removed(machine: Machine, agent: str) -> None:
    machine.boot().open_link("pulse", POLICY)
    machine.firewall.apply(link_commands(Slot(3), agent))
    service = machine.boot()
    assert service.reconcile(["pulse"]) == [agent or "nb3"]
    assert service.link("pulse").slot == Slot(0)
    assert [item["elem"]["val"] for item in machine.firewall.elements("agents")] == ["nb0"]
    assert [tap.slot for tap in machine.taps.list()] == [Slot(0)]
    service.close_link("pulse")
    assert nothing_left(machine)


def test_marks_whose_texts_were_cut_to_the_same_one_all_go(machine: Machine) -> None:
    names = [".".join(["a" * 60] * 3 + [end]) for end in ("b" * 50, "c" * 50)]
    machine.boot().open_link("pulse", parse_policy(names))
    assert len(machine.firewall.elements("live")) == 2
    machine.boot().close_link("pulse")
    assert nothing_left(machine)


def test_what_a_learner_used_is_kept_when_the_kernel_forgets_it(machine: Machine) -> None:
    service = EgressService(Base(("eth0",)), machine.firewall, machine.taps, may_learn=True)
    service.prepare()
    service.open_link("pulse", parse_policy([], learn=True))
    service.pin("pulse", "web.example.com", ["45.0.0.1"], 60)
    used = {"elem": {"val": {"concat": ["nb0", "45.0.0.1", "tcp", 443]}, "counter": {"packets": 1}}}
    machine.firewall.apply([element("add", "learned", [used])])
    service.poll()
    machine.firewall.apply([element("delete", "learned", [used])])
    assert service.learned("pulse")["allow"] == ["web.example.com:443"]
    service.close_link("pulse")
    service.open_link("pulse", parse_policy([]))
    assert service.learned("pulse")["used"] == [], "another start of the agent begins anew"


class NamedMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.resolvers = MemoryResolvers()
        self.now = 1000.0

    def boot(self) -> EgressService:
        service = EgressService(
            Base(("eth0",)), self.firewall, self.taps, self.resolvers, clock=lambda: self.now, wall=lambda: 0.0
        )
        service.prepare()
        return service


@pytest.fixture
def named() -> NamedMachine:
    return NamedMachine()


def test_only_a_covered_name_opens_an_address_and_only_on_its_port(named: NamedMachine) -> None:
    service = named.boot()
    service.open_link("pulse", POLICY)
    service.pin("pulse", "b.example.com", ["45.0.0.1"], 60)
    assert service.open_for("pulse", "45.0.0.1", 8443) == ["b.example.com:8443"]
    assert service.open_for("pulse", "45.0.0.1", 443) == []
    for agent, name in (("pulse", "evil.org"), ("nobody", "b.example.com")):
        with pytest.raises(NullBoxError) as caught:
            service.pin(agent, name, ["45.0.0.2"], 60)
        assert caught.value.code is ErrorCode.DENIED
    assert len(named.firewall.elements("grants")) == 1


def test_a_refused_pin_is_not_believed_to_be_open(named: NamedMachine) -> None:
    service = named.boot()
    service.open_link("pulse", POLICY)
    named.firewall.fail_next = True
    with pytest.raises(NullBoxError):
        service.pin("pulse", "b.example.com", ["45.0.0.1"], 60)
    assert service.open_for("pulse", "45.0.0.1", 8443) == []
    service.pin("pulse", "b.example.com", ["45.0.0.1"], 60)
    assert len(named.firewall.elements("grants")) == 1


def test_closing_a_link_closes_its_destinations_and_its_resolver(named: NamedMachine) -> None:
    service = named.boot()
    service.open_link("pulse", POLICY)
    assert set(named.resolvers.served) == {"pulse"}
    service.pin("pulse", "b.example.com", ["45.0.0.1"], 60)
    service.close_link("pulse")
    assert named.firewall.elements("grants") == []
    assert named.resolvers.served == {}


def test_a_restarted_service_can_revoke_what_its_predecessor_opened(named: NamedMachine) -> None:
    first = named.boot()
    first.open_link("pulse", POLICY)
    first.pin("pulse", "b.example.com", ["45.0.0.1"], 60)
    named.resolvers = MemoryResolvers()
    second = named.boot()
    assert set(named.resolvers.served) == {"pulse"}, "a running agent is answered again at once"
    second.open_link("pulse", parse_policy(["api.example.com"], 100))
    assert named.firewall.elements("grants") == []


def test_a_link_without_a_tap_is_not_served_after_a_restart(named: NamedMachine) -> None:
    named.boot().open_link("pulse", POLICY)
    named.taps.remove(Slot(0))
    named.resolvers = MemoryResolvers()
    named.boot()
    assert named.resolvers.served == {}


def test_the_longest_name_that_a_manifest_can_hold_still_works(named: NamedMachine) -> None:
    service = named.boot()
    long = ".".join(["a" * 60] * 4)
    service.open_link("pulse", parse_policy([long]))
    service.pin("pulse", long, ["45.0.0.1"], 60)
    assert len(named.firewall.elements("grants")) == 1
    named.resolvers = MemoryResolvers()
    again = named.boot()
    again.open_link("pulse", parse_policy([long]))
    again.pin("pulse", long, ["45.0.0.1"], 60)
