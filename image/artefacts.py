"""`python -m image.artefacts disk|iso`: from kernel and root to what firmware boots (edge; prints what it does).

`disk` makes `build/nullbox.efi` and `build/nullbox.img`, `iso` makes `build/nullbox.iso`; both write `build/sbom.json`.
Nothing is done when nothing that goes in has changed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from image import disk, media, pe, sbom, squash, stage, texts, uki
from image.debian import DEFAULT_SUITE, DebianArchiveError
from image.sources import Unpacked, fetch_debian
from image.variants import RELEASE, VARIANTS
from kernel import source
from nullbox.host import gpt, verified
from nullbox.host.verified import VerifiedRoot, VerifiedRootError

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_UKI_AND_ROOT = 32_000_000
MAX_ISO = 48_000_000
ISO_LABEL = "NULLBOX"
CD_BOOT = "cd.img"
"""File of the ISO with the file system that firmware boots from on a CD."""
ROUND = 1 << 20


class ArtefactError(Exception):
    """A boot artefact cannot be made, or would be too large; the message says which."""


@dataclass(frozen=True)
class Parts:
    """What goes into an artefact. sign: key and certificate, PEM files of the user's."""

    kernel: Path
    flavour: str
    image: Path
    version: str
    sign: tuple[Path, Path] | None = None

    @cached_property
    def stub(self) -> Unpacked:
        """systemd's EFI stub, looked up and fetched when something is made, and not before."""
        return fetch_debian([uki.STUB[0]], say)[uki.STUB[0]]

    @property
    def root(self) -> VerifiedRoot:
        return verified.read(self.image)

    def key(self, kind: str) -> str:
        """One hash over everything that an artefact depends on."""
        sources = [path.read_bytes() for path in sorted((REPOSITORY / "image").glob("*.py"))]
        sources += [(REPOSITORY / "nullbox/host" / name).read_bytes() for name in ("gpt.py", "qemu.py", "verified.py")]
        signing = [path.read_bytes() for path in self.sign or ()]
        names = (kind, self.flavour, self.version, self.root.to_json())
        return stage.digest(*names, self.kernel.read_bytes(), *signing, *sources)


def say(line: str) -> None:
    print(f"image: {line}", flush=True)


def kernel_program(parts: Parts, target: Path, root: tuple[str, ...]) -> None:
    """Write a unified kernel image that boots this root, signed if there is a key."""
    stub = (parts.stub.folder / uki.STUB[1]).read_bytes()
    cmdline = uki.command_line(root, parts.flavour)
    os_release = texts.os_release(parts.version, DEFAULT_SUITE)
    target.write_bytes(uki.assemble(stub, parts.kernel.read_bytes(), cmdline, os_release))
    if parts.sign:
        media.sign(target, *parts.sign)


def on_partition(root: VerifiedRoot) -> tuple[str, ...]:
    """Kernel arguments for a root in a partition of its own, wherever that is."""
    return verified.arguments(root, f"PARTUUID={verified.partition_id(root)}", wait=True)


def make_disk(parts: Parts, output: Path) -> None:
    """`nullbox.efi` and `nullbox.img`."""
    root = parts.root
    program, target = output / "nullbox.efi", output / "nullbox.img"
    partitions = {partition.label: partition for partition in disk.partitions(root)}
    with tempfile.TemporaryDirectory(dir=output) as folder:
        fresh = Path(folder) / "nullbox.efi"
        kernel_program(parts, fresh, on_partition(root))
        total = fresh.stat().st_size + parts.image.stat().st_size
        if total > MAX_UKI_AND_ROOT:
            raise ArtefactError(f"kernel image and root have {total} bytes, more than {MAX_UKI_AND_ROOT}")
        if parts.image.stat().st_size > partitions[disk.ROOT_A].size:
            raise ArtefactError(f"the root does not fit into its partition of {disk.ROOT_MIB} MiB")
        esp = Path(folder) / "esp"
        media.fat(esp, partitions[disk.ESP].size, disk.volume_serial(root, disk.ESP), fresh)
        files = [(partitions[disk.ESP].offset, esp), (partitions[disk.ROOT_A].offset, parts.image)]
        table = gpt.table(disk.sectors(), list(partitions.values()), disk.identity(root, "disk"))
        media.write_disk(target, disk.sectors(), table, files)
        fresh.replace(program)
    say(
        f"build/{program.name}: {program.stat().st_size / 1e6:.1f} MB, with the root {total / 1e6:.1f} MB of at most 32"
    )
    say(f"build/{target.name}: {target.stat().st_size / 1e6:.0f} MB, of which {used(target) / 1e6:.0f} MB are used")


def used(path: Path) -> int:
    """Bytes that a sparse file takes."""
    return path.stat().st_blocks * 512


def make_iso(parts: Parts, output: Path) -> None:
    """`nullbox.iso`: on a CD its root is a stretch of the device, on a USB stick a partition.

    A CD has no partitions, so its kernel is told where the root lies. That is known only when the image is laid out, so
    it is laid out twice; command lines are of one length, so that the second layout is the first one.
    """
    root, size = parts.root, parts.image.stat().st_size
    with tempfile.TemporaryDirectory(dir=output) as name:
        folder = Path(name)
        offset = 1 << 30
        for _ in range(2):
            lay_out_iso(parts, folder, verified.arguments(root, "/dev/sr0", image_bytes=size, offset=offset, wait=True))
            extents = media.extents(folder / "iso")
            before, offset = offset, extents["root.img"][0]
        if before != offset:
            raise ArtefactError(f"the root of the ISO image moved from {before} to {offset} while it was laid out")
        known = {disk.ESP: extents["esp.img"], disk.ROOT_A: extents["root.img"]}
        partitions = disk.iso_partitions(root, known)
        whole = -(-((folder / "iso").stat().st_size + 64 * gpt.SECTOR) // ROUND) * ROUND // gpt.SECTOR
        table = gpt.table(whole, partitions, disk.identity(root, "iso"))
        media.add_partition_table(folder / "iso", partitions, table)
        if (length := (folder / "iso").stat().st_size) > MAX_ISO:
            raise ArtefactError(f"the ISO image has {length} bytes, more than {MAX_ISO}")
        target = output / "nullbox.iso"
        (folder / "iso").replace(target)
    say(f"build/{target.name}: {length / 1e6:.1f} MB of at most {MAX_ISO / 1e6:.0f}")


def lay_out_iso(parts: Parts, folder: Path, on_cd: tuple[str, ...]) -> None:
    """Write `iso` in a folder: the root, and two file systems with a kernel each, for USB sticks and for CDs."""
    files = {"root.img": parts.image}
    for name, arguments in (("esp.img", on_partition(parts.root)), (CD_BOOT, on_cd)):
        program = folder / "program.efi"
        kernel_program(parts, program, arguments)
        room = -(-(program.stat().st_size + (512 << 10)) // ROUND) * ROUND
        media.fat(folder / name, room, disk.volume_serial(parts.root, name), program)
        files[name] = folder / name
    media.iso(folder / "iso", files, CD_BOOT, ISO_LABEL)


def write_sbom(parts: Parts, components: Path, target: Path) -> None:
    """The bill of materials: the root's parts, the kernel's source and the stub."""
    pin = source.parse_lock(source.LOCK.read_text())
    kernel = sbom.component(
        source.PACKAGE,
        pin.version,
        f"pkg:deb/debian/{source.PACKAGE}@{pin.version}?arch=source",
        pin.sha256,
        ["GPL-2.0-only WITH Linux-syscall-note"],
    )
    text = sbom.document("nullbox", parts.version, [*sbom.read(components), kernel, sbom.of_debian(parts.stub)])
    target.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m image.artefacts", description="Make what firmware boots from.")
    parser.add_argument("kind", choices=("disk", "iso"))
    parser.add_argument("--kernel", type=Path, required=True, help="the bzImage")
    parser.add_argument("--flavour", choices=sorted(uki.CONSOLES), default="virt", help="what it was built as")
    parser.add_argument("--key", type=Path, help="private key (PEM) to sign the kernel image with")
    parser.add_argument("--cert", type=Path, help="its certificate (PEM), which the firmware has to know")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build", help="folder; default: build")
    arguments = parser.parse_args()
    if (arguments.key is None) != (arguments.cert is None):
        parser.error("--key and --cert belong together")
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    release = VARIANTS[RELEASE]
    try:
        version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
        sign = (arguments.key, arguments.cert) if arguments.key else None
        image = REPOSITORY / "build" / release.file
        parts = Parts(arguments.kernel, arguments.flavour, image, str(version), sign)
        target = output / ("nullbox.img" if arguments.kind == "disk" else "nullbox.iso")
        stamp = output / f".{target.name}.stamp"
        key = parts.key(arguments.kind)
        bill = output / "sbom.json"
        if target.is_file() and bill.is_file() and stamp.is_file() and stamp.read_text() == key:
            say(f"build/{target.name} is up to date")
            return 0
        stamp.unlink(missing_ok=True)
        (make_disk if arguments.kind == "disk" else make_iso)(parts, output)
        write_sbom(parts, REPOSITORY / "build" / release.work / "components.json", bill)
        stamp.write_text(key)
    except (ArtefactError, DebianArchiveError, VerifiedRootError, squash.ToolError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    except (pe.PeError, uki.KernelError) as error:
        print(f"image: {os.fspath(arguments.kernel)} and its stub: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
