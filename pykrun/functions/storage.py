"""Rows: shared folders (virtio-fs) and disks (virtio-blk)."""

from __future__ import annotations

from pykrun.abi import DEVELOPMENT, RECENT, SMOLMACHINES, STABLE, Function, row

ROWS: tuple[Function, ...] = (
    row(
        "krun_add_virtiofs",
        "ctx:ctx tag:str path:str",
        """Share a folder of the host, read-write, under a tag. The tag `/dev/root` is the guest's root. The
        share does not confine the guest to the folder: the VMM has to be confined.""",
    ),
    row(
        "krun_add_virtiofs2",
        "ctx:ctx tag:str path:str shm_size:u64",
        "The same with a DAX window of that many bytes, 0 for none.",
    ),
    row(
        "krun_add_virtiofs3",
        "ctx:ctx tag:str path:str? shm_size:u64 read_only:bool",
        "The same, and the guest cannot write if read_only. path None: an empty file system without a host folder.",
    ),
    row(
        "krun_add_virtiofs4",
        "ctx:ctx tag:str path:str? shm_size:u64 read_only:bool semantics:u32",
        "The same with a choice of 0 to 3 of how file attributes are treated; 0 is what krun_add_virtiofs3 does.",
        SMOLMACHINES,
    ),
    row(
        "krun_fs_add_overlay_file",
        "ctx:ctx tag:str path:str data:pointer length:size mode:u32 one_shot:bool",
        """A file in a share that exists in memory only. The library keeps the pointer: the memory has to
        live as long as the machine. mode: bits such as 0o100644. one_shot: it can be looked up once.
        ENOENT, ENOTDIR: no such folder.""",
        RECENT,
    ),
    row(
        "krun_fs_add_overlay_dir",
        "ctx:ctx tag:str path:str mode:u32",
        "An empty folder in a share that exists in memory only, to mount on. mode: bits such as 0o40755.",
        RECENT,
    ),
    row(
        "krun_add_disk",
        "ctx:ctx name:str path:str read_only:bool",
        "A raw disk image as a block device. Not together with krun_set_root_disk or krun_set_data_disk.",
    ),
    row(
        "krun_add_disk2",
        "ctx:ctx name:str path:str format:u32 read_only:bool",
        """The same with a format: 0 raw, 1 qcow2, 2 VMDK. Anything but raw may name other files, which the
        library then opens: never an image from a guest or a stranger.""",
    ),
    row(
        "krun_add_disk3",
        "ctx:ctx name:str path:str format:u32 read_only:bool direct_io:bool sync:u32",
        "The same; direct_io goes around the host's cache. sync: 0 ignore flushes, 1 relaxed, 2 full.",
    ),
    row(
        "krun_add_disk4",
        "ctx:ctx name:str path:str format:u32 read_only:bool direct_io:bool sync:u32 options:u32",
        "The same with options of the build; 0 is what krun_add_disk3 does. Not documented by its makers.",
        SMOLMACHINES,
    ),
    row(
        "krun_set_root_disk_remount",
        "ctx:ctx device:str fstype:str? options:str?",
        """Make an added disk the guest's root: libkrun starts its init from memory, then changes over.
        device: as the guest names it (`/dev/vda1`). fstype None or `auto`: try all.""",
    ),
    row(
        "krun_create_disk_overlay",
        "overlay:str base:str base_format:u32",
        """Write a qcow2 file that holds only the differences to a base image (absolute path; 0 raw, 1
        qcow2). Needs no context. EIO: it could not be written.""",
        SMOLMACHINES,
    ),
    row(
        "krun_set_root",
        "ctx:ctx path:str",
        "Make a folder the guest's root. Elsewhere: krun_add_virtiofs with the tag `/dev/root`.",
        STABLE | DEVELOPMENT,
    ),
)
