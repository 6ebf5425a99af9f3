"""libkrun for Python: microVMs through ctypes, with nothing but the standard library.

    from pykrun import Context

    with Context() as vm:
        vm.set_vm_config(vcpus=1, ram_mib=256)
        vm.set_root("/srv/rootfs")
        vm.add_console(0, 1, 2)
        vm.set_exec("/bin/sh", ["-c", "uname -r"], {"PATH": "/bin"})
        vm.start_enter()          # this process becomes the VM

See the README beside this file.
"""

from __future__ import annotations

from pykrun.abi import Family, Function
from pykrun.context import Context
from pykrun.errors import KrunError, LibraryNotFound, MissingFunction
from pykrun.functions import FUNCTIONS
from pykrun.lib import Library
from pykrun.recipes import Unsupported

__all__ = [
    "FUNCTIONS",
    "Context",
    "Family",
    "Function",
    "KrunError",
    "Library",
    "LibraryNotFound",
    "MissingFunction",
    "Unsupported",
]
