"""The kernel that is built, and what the rest of the project needs of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel import check, hardening, source, system
from kernel.flavours import FLAVOURS, read_fragments
from nullbox.egress.ruleset import Base, base_commands

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "build" / "bzImage"
CONFIG = ROOT / "build" / "bzImage.config"
MOST_BYTES = 6_000_000

VIRT = read_fragments(FLAVOURS["virt"], "gcc")

OPTION_OF_STATEMENT = {
    "accept": "NF_TABLES",
    "drop": "NF_TABLES",
    "return": "NF_TABLES",
    "jump": "NF_TABLES",
    "goto": "NF_TABLES",
    "match": "NF_TABLES",
    "mangle": "NF_TABLES",
    "counter": "NF_TABLES",
    "set": "NF_TABLES",
    "map": "NF_TABLES",
    "vmap": "NF_TABLES",
    "ct count": "NFT_CONNLIMIT",
    "fib": "NFT_FIB_INET",
    "limit": "NFT_LIMIT",
    "log": "NFT_LOG",
    "masquerade": "NFT_MASQ",
    "notrack": "NFT_CT",
    "quota": "NFT_QUOTA",
    "reject": "NFT_REJECT",
}
"""The option that a statement of nftables needs (net/netfilter/Kconfig); one that is not here is unknown to us."""
OPTION_OF_EXPRESSION = {"ct": "NFT_CT", "ct count": "NFT_CONNLIMIT", "fib": "NFT_FIB_INET", "quota": "NFT_QUOTA"}
OPTION_OF_FAMILY = {"inet": "NF_TABLES_INET", "arp": "NF_TABLES_ARP", "netdev": "NF_TABLES_NETDEV"}
OPTION_OF_CHAIN = {"filter": "NF_TABLES", "nat": "NFT_NAT"}


def keys(value: Any) -> Iterator[str]:
    """Every key anywhere in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def options_of_the_ruleset() -> set[str]:
    """What the firewall's ruleset needs of the kernel; a KeyError is a statement that the tables above lack."""
    needed = set()
    for command in base_commands(Base(uplinks=("eth0",), special=("10.0.0.0/8",))):
        ((_, target),) = command.items()
        ((kind, body),) = target.items()
        needed.add(OPTION_OF_FAMILY[body["family"]])
        if kind == "chain":
            needed.add(OPTION_OF_CHAIN[body.get("type", "filter")])
        if kind == "rule":
            needed |= {OPTION_OF_STATEMENT[name] for statement in body["expr"] for name in statement}
        needed |= {OPTION_OF_EXPRESSION[key] for key in keys(body) if key in OPTION_OF_EXPRESSION}
    return needed


def test_the_ruleset_uses_nothing_that_the_kernel_lacks() -> None:
    needed = options_of_the_ruleset()
    assert {"NF_TABLES_ARP", "NFT_CONNLIMIT", "NFT_MASQ"} <= needed, "the walk over the ruleset finds too little"
    assert {option for option in needed if VIRT.get(option) != "y"} == set()


@pytest.mark.parametrize("option", ["TUN", "KVM", "KVM_AMD", "KVM_INTEL", "VSOCKETS", "SECURITY_LANDLOCK", "MEMCG"])
def test_cages_have_what_they_are_made_of(option: str) -> None:
    assert VIRT[option] == "y"


@pytest.mark.parametrize(
    "option", ["DM_VERITY", "DM_INIT", "CRYPTO_SHA256", "EFI_STUB", "EFI_PARTITION", "EXT4_FS", "QFMT_V2", "PSTORE_RAM"]
)
def test_the_verified_boot_has_what_it_is_made_of(option: str) -> None:
    assert VIRT[option] == "y"


@pytest.mark.parametrize("option", ["BRIDGE", "VLAN_8021Q", "XFRM", "IP_NF_IPTABLES", "NFT_COMPAT", "VHOST_VSOCK"])
def test_nothing_asks_for_what_no_cage_needs(option: str) -> None:
    assert VIRT.get(option, "n") == "n"


def test_the_lock_pins_one_version_of_the_series_by_hash() -> None:
    text = source.LOCK.read_text()
    pin = source.parse_lock(text)
    assert re.fullmatch(r"6\.12\.[0-9]+-[0-9a-z.~+]+", pin.version)
    assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256)
    assert source.render_lock(pin) == text


@pytest.fixture(scope="module")
def built() -> dict[str, str]:
    """The final .config of build/bzImage."""
    if not (IMAGE.exists() and CONFIG.exists()):
        pytest.fail("build/bzImage is not there; build it with: make kernel")
    return check.parse(CONFIG.read_text(), str(CONFIG))


@pytest.mark.boot
def test_no_option_of_the_fragments_fell_away(built: dict[str, str]) -> None:
    assert [str(difference) for difference in check.compare(VIRT, built)] == []


@pytest.mark.boot
def test_the_kernel_follows_every_recommendation_or_says_why_not(built: dict[str, str]) -> None:
    _, findings = system.assess(built, "virt")
    assert [str(fault) for fault in hardening.faults(findings)] == []


@pytest.mark.boot
def test_no_recommendation_was_given_up_as_gone_while_the_kernel_has_it(built: dict[str, str]) -> None:
    assert hardening.load().gone.keys() & built.keys() == set()


@pytest.mark.boot
@pytest.mark.parametrize("option", ["MODULES", "IO_URING", "KEXEC", "KEXEC_FILE", "DEVMEM", "BPF_SYSCALL", "USER_NS"])
def test_the_kernel_cannot_do_what_it_must_not(built: dict[str, str], option: str) -> None:
    assert built.get(option, "n") == "n"


@pytest.mark.boot
def test_the_kernel_is_small(built: dict[str, str]) -> None:
    assert IMAGE.stat().st_size <= MOST_BYTES


@pytest.mark.boot
def test_the_kernel_is_of_the_pinned_series(built: dict[str, str]) -> None:
    # Offset of a pointer to the version in the setup header: Documentation/arch/x86/boot.rst, `kernel_version`.
    image = IMAGE.read_bytes()
    assert image[0x202:0x206] == b"HdrS"
    start = int.from_bytes(image[0x20E:0x210], "little") + 0x200
    assert image[start : image.index(b"\0", start)].decode().startswith(f"{source.SERIES}.")
