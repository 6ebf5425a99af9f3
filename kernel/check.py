"""Compare wanted kernel options with a final `.config`: which ones fell away, and why (pure functions and a CLI).

Kconfig never complains: an option whose dependency is missing is dropped, and one that something else selects
is switched on. Both are found here by comparing what the fragments ask for with what the kernel was built with.

Source: Documentation/kbuild/kconfig-language.rst of the kernel.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import hardening

SET_LINE = re.compile(r"CONFIG_(\w+)=(.*)")
UNSET_LINE = re.compile(r"# CONFIG_(\w+) is not set")

# The dependency that is most often forgotten, per option. A hint for the reader of a failure, nothing more.
LIKELY_CAUSE: Mapping[str, str] = {
    "AGP": "selected by DRM",
    "BLK_DEV_THROTTLING": "BLK_CGROUP",
    "CFS_BANDWIDTH": "FAIR_GROUP_SCHED",
    "CRYPTO_SHA256": "CRYPTO",
    "DM_INIT": "BLK_DEV_DM",
    "DM_VERITY": "BLK_DEV_DM (and CRYPTO)",
    "EFI_PARTITION": "PARTITION_ADVANCED",
    "FAIR_GROUP_SCHED": "CGROUP_SCHED",
    "HW_RANDOM_VIRTIO": "HW_RANDOM",
    "I6300ESB_WDT": "WATCHDOG and PCI",
    "INIT_STACK_ALL_ZERO": "a compiler with -ftrivial-auto-var-init=zero (gcc 12, clang 16)",
    "INPUT": "selected by VT, or by a driver with keys",
    "IPC_NS": "SYSVIPC or POSIX_MQUEUE",
    "KVM": "VIRTUALIZATION",
    "KVM_INTEL": "KVM and CPU_SUP_INTEL",
    "KVM_AMD": "KVM and CPU_SUP_AMD",
    "NFT_MASQ": "NF_NAT",
    "NFT_NAT": "NF_NAT",
    "NF_TABLES": "NETFILTER_ADVANCED",
    "NF_TABLES_INET": "IPV6 and NF_TABLES",
    "PAGE_TABLE_CHECK": "an architecture that supports it",
    "PSTORE_RAM": "PSTORE",
    "SECCOMP_FILTER": "SECCOMP and NET",
    "SLAB_FREELIST_HARDENED": "SLUB_TINY off",
    "SLAB_FREELIST_RANDOM": "SLUB_TINY off",
    "SQUASHFS": "MISC_FILESYSTEMS",
    "STACKPROTECTOR_STRONG": "STACKPROTECTOR",
    "TUN": "NETDEVICES and NET_CORE",
    "VIRTIO_BLK": "BLK_DEV and VIRTIO_MENU",
    "VIRTIO_NET": "NETDEVICES and NET_CORE",
    "VIRTIO_PCI": "VIRTIO_MENU and PCI",
    "ZERO_CALL_USED_REGS": "a compiler with -fzero-call-used-regs (gcc 11, clang 15)",
}


class FragmentError(ValueError):
    """A fragment or `.config` holds a line that is no option; the message names the line."""


@dataclass(frozen=True)
class Difference:
    """One option whose final value is not the wanted one. Values are as written in a `.config`; `n` is unset."""

    option: str
    wanted: str
    found: str

    def __str__(self) -> str:
        text = f"CONFIG_{self.option}: wanted {self.wanted}, is {self.found}"
        cause = LIKELY_CAUSE.get(self.option)
        if cause and self.found == "n":
            return f"{text} (needs {cause})"
        if cause and "selected by" in cause:
            return f"{text} ({cause})"
        if self.wanted == "n":
            return f"{text} (selected by another option)"
        return f"{text} (an unmet dependency, or no such option in this version)"


def parse(text: str, origin: str = "config") -> dict[str, str]:
    """Read fragment or `.config` text into option → value; `n` stands for "is not set".

    Within one text a later line overrides an earlier one. Raises `FragmentError` for any other line.
    """
    options: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if match := SET_LINE.fullmatch(line):
            options[match[1]] = match[2].strip()
        elif match := UNSET_LINE.fullmatch(line):
            options[match[1]] = "n"
        elif line and not line.startswith("#"):
            raise FragmentError(
                f"{origin}:{number}: {line!r} is no option; expected CONFIG_NAME=value or '# CONFIG_NAME is not set'"
            )
    return options


def merge(fragments: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Lay fragments over each other; a later fragment wins."""
    merged: dict[str, str] = {}
    for fragment in fragments:
        merged.update(fragment)
    return merged


def render(options: Mapping[str, str]) -> str:
    """Write options the way Kconfig reads them."""
    return "".join(
        f"# CONFIG_{option} is not set\n" if value == "n" else f"CONFIG_{option}={value}\n"
        for option, value in options.items()
    )


def compare(wanted: Mapping[str, str], final: Mapping[str, str]) -> list[Difference]:
    """Every wanted option whose value in `final` differs; one absent from `final` counts as `n`."""
    return [
        Difference(option, value, final.get(option, "n"))
        for option, value in wanted.items()
        if final.get(option, "n") != value
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Hold a finished kernel against its fragments, or against the KSPP table.

    `python -m kernel.check .config FRAGMENT…` fails when an option fell away;
    `python -m kernel.check --kspp .config [--flavour virt]` when a recommendation is missed without a reason.
    """
    parser = argparse.ArgumentParser(prog="kernel.check", description="Hold a kernel's .config against a standard.")
    parser.add_argument("config", type=Path, help="the final .config")
    parser.add_argument("fragments", type=Path, nargs="*", help="fragments, the overriding ones last")
    parser.add_argument("--kspp", action="store_true", help="against kernel/kspp.toml instead of fragments")
    parser.add_argument("--flavour", default="virt", help="whose exceptions count with --kspp (default: virt)")
    arguments = parser.parse_args(argv)
    if arguments.kspp == bool(arguments.fragments):
        parser.error("give either fragments or --kspp")
    try:
        final = parse(arguments.config.read_text(), str(arguments.config))
        wanted = merge(parse(path.read_text(), str(path)) for path in arguments.fragments)
    except (OSError, FragmentError) as error:
        print(f"kernel.check: {error}", file=sys.stderr)
        return 2
    if arguments.kspp:
        return _check_hardening(final, arguments.flavour)
    differences = compare(wanted, final)
    for difference in differences:
        print(difference, file=sys.stderr)
    print(f"{len(wanted) - len(differences)} of {len(wanted)} options are as wanted")
    return 1 if differences else 0


def _check_hardening(final: Mapping[str, str], flavour: str) -> int:
    from kernel import system  # here, since `system` reads tables of other packages, which plain checks do without

    table, findings = system.assess(final, flavour)
    print(hardening.report(table, findings))
    return 1 if hardening.faults(findings) else 0


if __name__ == "__main__":
    sys.exit(main())
