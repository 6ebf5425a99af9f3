"""The host's packages that building a kernel needs, as data for the setup step (standard library only).

The usual lists name more. `libssl-dev` signs modules and certificates, which this kernel has none of; `dwarves`
makes type information for BPF, which is off; `kmod`, `cpio` and `rsync` serve modules, initramfs and headers.
"""

from __future__ import annotations

BUILD_PACKAGES: tuple[str, ...] = (
    "gcc",
    "make",
    "libc6-dev",  # the kernel's own build tools run on the host
    "flex",  # the parsers of Kconfig and objtool
    "bison",
    "bc",  # kernel/time/timeconst.bc
    "libelf-dev",  # objtool: unwind tables, retpolines, indirect branch tracking
    "zstd",  # packs bzImage
    "xz-utils",  # unpacks the source
    "debian-archive-keyring",  # verifies the source's signature, also on Ubuntu
)
"""What `python -m kernel.build` needs on Debian 12 or newer and Ubuntu 24.04 or newer."""

CLANG_PACKAGES: tuple[str, ...] = ("clang-19", "lld-19", "llvm-19")
"""What `--cc clang` needs in addition."""
