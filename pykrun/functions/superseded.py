"""Rows: functions of libkrun 1.x that newer ones replace. Listed so that an old library is fully described."""

from __future__ import annotations

from pykrun.abi import DEVELOPMENT, STABLE, Family, Function, row

OLD: Family = STABLE | DEVELOPMENT

ROWS: tuple[Function, ...] = (
    row("krun_set_root_disk", "ctx:ctx path:str", "Raw image with the guest's root. Now: krun_add_disk.", OLD),
    row("krun_set_data_disk", "ctx:ctx path:str", "Raw image with data. Now: krun_add_disk.", OLD),
    row(
        "krun_set_mapped_volumes",
        "ctx:ctx volumes:strs",
        "Folders as `HOST:GUEST`. Does nothing any more. Now: krun_add_virtiofs.",
        OLD,
    ),
    row("krun_set_passt_fd", "ctx:ctx socket:fd", "Network through passt. Now: krun_add_net_unixstream.", OLD),
    row(
        "krun_set_gvproxy_path",
        "ctx:ctx path:str",
        "Network through gvproxy. Now: krun_add_net_unixgram with the vfkit flag.",
        OLD,
    ),
    row("krun_set_net_mac", "ctx:ctx mac:mac", "Address of the card of krun_set_passt_fd.", OLD),
)
