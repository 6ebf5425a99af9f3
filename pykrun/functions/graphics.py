"""Rows: virtio-gpu and displays."""

from __future__ import annotations

from pykrun.abi import Function, Returns, row

ROWS: tuple[Function, ...] = (
    row("krun_set_gpu_options", "ctx:ctx flags:u32", "A virtio-gpu device. flags: those of virglrenderer."),
    row(
        "krun_set_gpu_options2",
        "ctx:ctx flags:u32 shm_size:u64",
        "The same with the size in bytes of the window that serves the guest as video memory.",
    ),
    row(
        "krun_add_display",
        "ctx:ctx width:u32 height:u32",
        "A display of that many pixels, at most 16. It needs a backend as well. ENOMEM: there are 16.",
        returns=Returns.NUMBER,
    ),
    row(
        "krun_display_set_edid",
        "ctx:ctx display:u32 edid:bytes size:size",
        "EDID of a display in place of the generated one; size in bytes.",
    ),
    row(
        "krun_display_set_dpi",
        "ctx:ctx display:u32 dpi:u32",
        "Pixels per inch that the guest is told; overrides the physical size.",
    ),
    row(
        "krun_display_set_physical_size",
        "ctx:ctx display:u32 width_mm:u16 height_mm:u16",
        "Size in millimetres that the guest is told; overrides the pixels per inch.",
    ),
    row("krun_display_set_refresh_rate", "ctx:ctx display:u32 hertz:u32", "Refresh rate in Hz."),
    row(
        "krun_set_display_backend",
        "ctx:ctx backend:pointer size:size",
        "The table of callbacks that shows frames (`libkrun_display.h`); size in bytes.",
    ),
)
