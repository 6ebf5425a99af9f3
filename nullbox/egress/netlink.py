"""Edge: pyroute2's rtnetlink client, without the rest of pyroute2.

`import pyroute2.anything` runs the package's `__init__`, which imports every subsystem it has: 2.9 s on an emulated
machine, 250 ms natively, against 70 ms for the client alone. So the package is registered without running its
`__init__`; its submodules then import only what they name. If something has imported pyroute2 already, that is used.

Three things that the client names and nothing here uses are stood in for by empty modules while it is imported: traffic
control (thirty modules, and a warning on a kernel without it), probes of other hosts (which want OpenSSL), and
`unittest.mock`.
"""

from __future__ import annotations

import importlib.util
import sys
from types import MappingProxyType, SimpleNamespace
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.lean import StandIns, stood_in

STAND_INS: StandIns = MappingProxyType(
    {
        "pyroute2.netlink.rtnl.tcmsg": {"tcmsg": type("tcmsg", (), {}), "plugins": {}},
        "pyroute2.netlink.rtnl.probe_msg": {"probe_msg": type("probe_msg", (), {}), "proxy_newprobe": None},
        "unittest": {"mock": SimpleNamespace(Mock=object)},
    }
)


def open_route() -> Any:
    """A new `IPRoute` on the network namespace of this thread, to be closed by the caller (`with`).

    Raises:
        NullBoxError: `unavailable`, pyroute2 is not installed.
    """
    return load()()


def load() -> Any:
    """The class `IPRoute`.

    Raises:
        NullBoxError: `unavailable`, pyroute2 is not installed.
    """
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise NullBoxError(ErrorCode.UNAVAILABLE, "pyroute2 is not installed")
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    with stood_in(STAND_INS):
        from pyroute2.iproute.linux import IPRoute

    return IPRoute
