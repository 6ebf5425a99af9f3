"""The system that the hardening table is held against: our kernel, our command line, our sysctls.

Kept apart from `hardening.py`, so that judging needs nothing of the rest of the project.
"""

from __future__ import annotations

from collections.abc import Mapping

from kernel import hardening
from nullbox.bootstrap.sysctls import SYSCTLS
from nullbox.host.qemu import KERNEL_ARGUMENTS


def assess(config: Mapping[str, str], flavour: str) -> tuple[hardening.Table, list[hardening.Finding]]:
    """Hold a final `.config`, with the command line and the sysctls that NullBox boots with, against `kspp.toml`."""
    cmdline = " ".join((hardening.built_in_cmdline(config), *KERNEL_ARGUMENTS))
    sysctls = {parameter.name: parameter.value for parameter in SYSCTLS}
    table = hardening.load()
    system = hardening.System(config, hardening.parse_cmdline(cmdline), sysctls, flavour)
    return table, hardening.assess(table, system)
