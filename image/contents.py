"""What the root file system consists of, as data: every file of the image comes from a line of these tables.

Origins are Debian packages of the suite in `image.debian`, distributions from PyPI pinned by hash, this project's
own files, and texts written out in `image.texts`. A table entry says why the thing is there; what is not listed is
not in the image, and the build fails on an executable or a shared object without an origin.

The image holds two trees: the host's, whose Python modules are only those its programs can reach, and below
`GUEST` the root that every Python agent's VM shares, with a whole standard library for agents to use. Files that
both have are stored once, since SquashFS keeps equal files once.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

PYTHON = "python3.13"
EXTENSION_SUFFIX = ".cpython-313-x86_64-linux-gnu.so"
LIBRARY_PATH = "usr/lib/x86_64-linux-gnu"
STDLIB_PATH = f"usr/lib/{PYTHON}"
GUEST = "system/guest"
"""The guests' root, below the image's."""

MAX_BYTES = 24_000_000
"""Largest image that the build accepts."""


@dataclass(frozen=True)
class Library:
    """A shared object of a Debian package, installed under its soname. `guest`, `host`: in which tree.

    `loaded_by` is empty when another file names it as NEEDED (the build checks that one does); otherwise it says
    who opens it at run time.
    """

    package: str
    soname: str
    host: bool = True
    guest: bool = True
    loaded_by: str = ""


LIBRARIES = (
    Library("libc6", "libc.so.6"),
    Library("libc6", "libm.so.6"),
    Library("libc6", "libpthread.so.0", guest=False),
    Library("libc6", "libdl.so.2", guest=False),
    Library("zlib1g", "libz.so.1"),
    Library("libexpat1", "libexpat.so.1"),
    Library("libffi8", "libffi.so.8"),
    Library("libsqlite3-0", "libsqlite3.so.0"),
    Library("libnftables1", "libnftables.so.1", guest=False, loaded_by="nftables (PyPI pip-nftables)"),
    Library("libnftnl11", "libnftnl.so.11", guest=False),
    Library("libmnl0", "libmnl.so.0", guest=False),
    Library("libxtables12", "libxtables.so.12", guest=False),
    Library("libjansson4", "libjansson.so.4", guest=False),
    Library("libgmp10", "libgmp.so.10", guest=False),
    Library("libssl3t64", "libssl.so.3", host=False),
    Library("libssl3t64", "libcrypto.so.3", host=False),
    Library("libzstd1", "libzstd.so.1", host=False),
    Library("libext2fs2t64", "libext2fs.so.2", guest=False),
    Library("libext2fs2t64", "libe2p.so.2", guest=False),
    Library("libcom-err2", "libcom_err.so.2", guest=False),
    Library("libblkid1", "libblkid.so.1", guest=False),
    Library("libuuid1", "libuuid.so.1", guest=False),
    Library("libbz2-1.0", "libbz2.so.1.0", host=False),
    Library("liblzma5", "liblzma.so.5", host=False),
)


@dataclass(frozen=True)
class Program:
    """A program of a Debian package, for the host's tree only. `started_by` says who starts it."""

    package: str
    path: str
    started_by: str


PROGRAMS = (
    Program("e2fsprogs", "usr/sbin/mke2fs", "PID 1, on an empty STATE partition"),
    Program("e2fsprogs", "usr/sbin/e2fsck", "PID 1, before it mounts the STATE partition"),
)

LOADER = ("libc6", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
INTERPRETER = ("python3.13-minimal", f"usr/bin/{PYTHON}")
STDLIB_PACKAGES = ("libpython3.13-minimal", "libpython3.13-stdlib")
EXECUTABLES = MappingProxyType(
    {
        INTERPRETER[1]: "the interpreter that everything runs in",
        LOADER[1]: "the dynamic loader of the interpreter and of libkrun",
        "usr/sbin/init": "PID 1, a script of the interpreter",
        f"{GUEST}/{INTERPRETER[1]}": "the interpreter of Python agents, in their VMs",
        f"{GUEST}/{LOADER[1]}": "its dynamic loader",
        **{program.path: program.started_by for program in PROGRAMS},
    }
)
"""Every file of the image that may be executed → what for. The build fails on any other."""

CERTIFICATES = ("ca-certificates", "usr/share/ca-certificates/mozilla")
"""Mozilla's certificate authorities, for guests that call HTTPS services."""


@dataclass(frozen=True)
class Distribution:
    """A distribution on PyPI: exactly this file, by its SHA-256. `sdist`: it is published as source only."""

    name: str
    version: str
    sha256: str
    why: str
    sdist: bool = False


DISTRIBUTIONS = (
    Distribution(
        "thespian",
        "4.0.1",
        "a4ae87849ca24d4545555a7fa45c500e2cae0ce03cba0ddf863cfb576d76a819",
        "the actor system",
        sdist=True,
    ),
    Distribution(
        "pyroute2",
        "0.9.7",
        "01a2a3afe565a6acb0a0d5d8ac86c9682b6564407e3d9589070191ae94b737e8",
        "TAP devices, addresses and links over netlink",
    ),
    Distribution(
        "pip-nftables",
        "1.0.2.post1",
        "9e646eae203afab4563b8e9950f4e8bd31e88c0848a61da8ef50907f8c1c9e04",
        "binding to libnftables",
    ),
    Distribution(
        "msgpack",
        "1.2.4",
        "7fabd415c41e62006c6641fcdf5b3e866f581c4e11c58328c0d0f69584b9577d",
        "messages between actors",
    ),
    Distribution(
        "sqlite-utils",
        "4.2.1",
        "7fbaee670713b25eceba05779b844f0895efaf680d9a226fa5ba7dfe165721c5",
        "the store of ctxgraph",
    ),
    Distribution(
        "sqlite-fts4",
        "1.0.3",
        "0359edd8dea6fd73c848989e1e2b1f31a50fe5f9d7272299ff0e8dbaa62d035f",
        "imported by sqlite-utils",
    ),
    Distribution(
        "click",
        "8.5.1",
        "8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37",
        "imported by sqlite-utils",
    ),
    Distribution(
        "pluggy",
        "1.7.0",
        "7dd7b0d8832ba3cb632c306926ded123429211b83641b35dc5c41ad2d34f9bec",
        "imported by sqlite-utils",
    ),
    Distribution(
        "python-dateutil",
        "4.0.0",
        "a5e246f79eb80475e691bf93862cead98decd8a498cf53ba0516fcdc0f50dc1c",
        "imported by sqlite-utils",
    ),
    Distribution(
        "dnslib",
        "0.9.26",
        "e68719e633d761747c7e91bd241019ef5a2b61a63f56025939e144c841a70e0d",
        "DNS messages",
    ),
    Distribution(
        "rfc8785",
        "0.1.4",
        "520d690b448ecf0703691c76e1a34a24ddcd4fc5bc41d589cb7c58ec651bcd48",
        "canonical JSON for the hashes of ctxgraph",
    ),
    Distribution(
        "smolmachines",
        "1.32.2",
        "81b104e2622aa0b187b6b7054397c391151b83db2638a16d0e54c517684f0dc2",
        "libkrun and libkrunfw; nothing else of it is taken",
    ),
)

KRUN_LIBRARIES = MappingProxyType(
    {
        "libkrun.so": "pykrun, in the process of a VM",
        "libkrunfw.so.5": "libkrun, when a VM starts: it holds the guest kernel",
    }
)
"""Files of smolmachines that go to /system/lib → who opens them at run time."""

OUR_PACKAGES = (
    "nullbox.protocols",
    "nullbox.rpc",
    "nullbox.cage",
    "nullbox.egress",
    "nullbox.ctxgraph",
    "nullbox.gateway",
    "nullbox.actors",
    "nullbox.supervision",
    "nullbox.bootstrap",
    "pykrun",
)
"""Packages of this project whose every module is an entry point: the tree names actors by text."""

GUEST_PROGRAMS = "nullbox/guest"
"""Folder of this project that becomes /usr/lib/nullbox of the guests."""

HOST_STDLIB_ROOTS = MappingProxyType(
    {
        "encodings": "the interpreter starts with it",
        "encodings.aliases": "lookup of codecs by their other names",
        "encodings.ascii": "locale C, and text files that say so",
        "encodings.latin_1": "the raw bytes of console output",
        "encodings.utf_8": "the default",
        "encodings.utf_16_be": "rfc8785 orders keys by it",
        "encodings.idna": "host names in socket calls",
        "os": "the file by which the interpreter finds its library",
        "runpy": "python -m",
        "site": "imported by programs that run without -S",
        "linecache": "tracebacks",
        "traceback": "crash reports",
        "warnings": "the interpreter itself",
        "_sysconfigdata__linux_x86_64-linux-gnu": "sysconfig looks for it by name, zoneinfo asks sysconfig",
    }
)
"""Standard library modules that the interpreter needs, or that are reached by name only → why."""

HOST_EXCLUDED = MappingProxyType(
    {
        "_pydatetime": "Python twin of a C module that is there",
        "_pydecimal": "Python twin of a C module that is there",
        "_pyio": "Python twin of a C module that is there",
        "_py_abc": "Python twin of a C module that is there",
        "_strptime": "nothing parses dates by format",
        "_hashlib": "hashlib has its own SHA-2, without OpenSSL",
        "_ssl": "nothing on the host speaks TLS",
        "_uuid": "uuid4 needs only random bytes",
        "_lzma": "nothing unpacks xz",
        "_bz2": "nothing unpacks bzip2",
        "_curses": "no terminal programs",
        "_pyrepl": "no interactive interpreter",
        "_testcapi": "for CPython's own tests",
        "_testinternalcapi": "for CPython's own tests",
        "bdb": "debugger",
        "code": "interactive interpreter",
        "codeop": "interactive interpreter",
        "cmd": "interactive shells of thespian and pdb",
        "curses": "no terminal programs",
        "distutils": "removed from Python, still asked for by thespian",
        "doctest": "tests in docstrings",
        "ftplib": "nothing fetches URLs",
        "getpass": "no terminal programs",
        "http": "nothing speaks HTTP",
        "idlelib": "development environment",
        "lib2to3": "removed from Python",
        "multiprocessing.dummy": "threads in the guise of processes",
        "nt": "another operating system",
        "pdb": "debugger",
        "pip": "no package manager",
        "pkg_resources": "no package manager",
        "pydoc": "documentation browser",
        "pydoc_data": "documentation browser",
        "readline": "no terminal programs",
        "rlcompleter": "no terminal programs",
        "setuptools": "no package manager",
        "smtplib": "nothing sends mail",
        "ssl": "nothing on the host speaks TLS; asyncio does without",
        "test": "CPython's own tests",
        "tkinter": "no display",
        "tty": "no terminal programs",
        "turtle": "no display",
        "urllib.request": "nothing fetches URLs",
        "webbrowser": "no browser",
        "winreg": "another operating system",
        "xmlrpc": "nothing speaks XML-RPC",
        "msgpack.fallback": "Python twin of a C module that is there",
        "thespian.test": "tests of thespian",
        "thespian.shell": "an operator's shell",
        "thespian.diagnose": "an operator's shell",
        "click.testing": "tests",
        "click.shell_completion": "there is no shell",
        "sqlite_utils.cli": "the command line of sqlite-utils",
    }
)
"""Modules that are left out of the host's tree though an optional import names them → why."""

HOLLOW_PACKAGES = MappingProxyType(
    {
        "pyroute2": "nullbox.egress.netlink registers the package without running it: it imports all it has",
        "pyroute2.netlink.rtnl.probe_msg": "probes of other hosts: nullbox.egress.netlink has an empty module stand in",
        "pyroute2.netlink.rtnl.tcmsg": "traffic control: nullbox.egress.netlink has an empty module stand in for it",
    }
)
"""Packages of which only submodules are imported, their own code never being run → who sees to that."""

GUEST_EXCLUDED = MappingProxyType(
    {
        "__phello__": "example",
        "_pydatetime": "Python twin of a C module that is there",
        "_pydecimal": "Python twin of a C module that is there",
        "_pyio": "Python twin of a C module that is there",
        "_pyrepl": "no interactive interpreter",
        "_aix_support": "another operating system",
        "_android_support": "another operating system",
        "_apple_support": "another operating system",
        "_ios_support": "another operating system",
        "_osx_support": "another operating system",
        "_curses": "no terminal",
        "_curses_panel": "no terminal",
        "_dbm": "needs Berkeley DB",
        "_ctypes_test": "for CPython's own tests",
        "_testbuffer": "for CPython's own tests",
        "_testcapi": "for CPython's own tests",
        "_testclinic": "for CPython's own tests",
        "_testclinic_limited": "for CPython's own tests",
        "_testexternalinspection": "for CPython's own tests",
        "_testimportmultiple": "for CPython's own tests",
        "_testinternalcapi": "for CPython's own tests",
        "_testlimitedcapi": "for CPython's own tests",
        "_testmultiphase": "for CPython's own tests",
        "_testsinglephase": "for CPython's own tests",
        "_uuid": "uuid works without libuuid",
        "_xxtestfuzz": "for CPython's own tests",
        "antigravity": "joke",
        "curses": "no terminal",
        "dbm": "no such databases in the guest",
        "ensurepip": "the guest's root is read-only",
        "idlelib": "development environment",
        "lib2to3": "removed from Python",
        "msilib": "another operating system",
        "nturl2path": "another operating system",
        "pydoc_data": "documentation browser",
        "readline": "no terminal",
        "test": "CPython's own tests",
        "this": "joke",
        "tkinter": "no display",
        "turtle": "no display",
        "turtledemo": "no display",
        "venv": "the guest's root is read-only",
        "webbrowser": "no browser",
        "xxlimited": "example",
        "xxlimited_35": "example",
        "xxsubtype": "example",
    }
)
"""What the guests' standard library goes without → why; all else of Debian's packages is there."""

HOST_LINKS = MappingProxyType(
    {
        "bin": "usr/bin",
        "sbin": "usr/sbin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "etc/resolv.conf": "/run/resolv.conf",
        "etc/mtab": "/proc/self/mounts",
    }
)
"""Symbolic links → where they point."""

GUEST_LINKS = MappingProxyType(
    {
        **HOST_LINKS,
        "usr/bin/python3": PYTHON,
        "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
        f"{STDLIB_PATH}/nullbox_agent.py": "../nullbox/nullbox_agent.py",
    }
)

HOST_MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "run", "var")
GUEST_MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "run", "agent", "data")
"""Empty folders for the mount tables of the host and of a guest's launcher."""
