"""The small text files of the image that exist nowhere else (data)."""

from __future__ import annotations

from types import MappingProxyType

from image.contents import PYTHON

INIT = f"""#!/usr/bin/{PYTHON} -IS
import gc, sys
gc.disable()
sys.path.insert(0, "/system/python")
from nullbox.bootstrap import precompiled
precompiled.use()
from nullbox.bootstrap.pid1 import main
main()
"""
"""PID 1. `-I` and `-S`: neither environment nor site-packages decide what it imports. The collector waits until all
is loaded: nothing of that is garbage."""

USERS = """root:x:0:0:root:/:/nonexistent
nobody:x:65534:65534:nobody:/:/nonexistent
"""

GROUP = """root:x:0:
nogroup:x:65534:
"""

HOSTS = """127.0.0.1 localhost
::1 localhost
"""

NSSWITCH = """passwd: files
group: files
hosts: files dns
"""

HOST_TEXTS = MappingProxyType(
    {
        "usr/sbin/init": (0o755, INIT),
        "etc/passwd": (0o644, USERS),
        "etc/group": (0o644, GROUP),
        "etc/hosts": (0o644, HOSTS),
        "etc/hostname": (0o644, "nullbox\n"),
        "etc/nsswitch.conf": (0o644, NSSWITCH),
    }
)
"""Path below the image's root → permission bits and content."""

GUEST_TEXTS = MappingProxyType(
    {
        "etc/passwd": (0o644, USERS),
        "etc/group": (0o644, GROUP),
        "etc/hosts": (0o644, HOSTS),
        "etc/hostname": (0o644, "agent\n"),
        "etc/nsswitch.conf": (0o644, NSSWITCH),
    }
)
"""Path below the guests' root → permission bits and content."""


def os_release(version: str, debian: str) -> str:
    """os-release(5) of the image: `version` is this project's, `debian` the release its packages come from."""
    return (
        'NAME="NullBox"\nID=nullbox\nID_LIKE=debian\n'
        f'VERSION_ID={version}\nPRETTY_NAME="NullBox {version}"\nVARIANT="packages of Debian {debian}"\n'
    )
