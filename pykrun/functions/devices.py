"""Rows: network, vsock, consoles, input and vhost-user devices."""

from __future__ import annotations

from pykrun.abi import DEVELOPMENT, RECENT, SMOLMACHINES, STABLE, Function, Returns, row

ROWS: tuple[Function, ...] = (
    row(
        "krun_add_net_tap",
        "ctx:ctx name:str mac:mac features:u32 flags:u32",
        """A network card on a TAP device of the host (Linux); `eth0` in the guest for the first one.
        features: virtio-net bits, 0 for none. flags: 2 lets libkrun's init ask for an address with DHCP.
        Nobody else configures the card. EINVAL: an unknown bit, or a segmentation offload without
        GUEST_CSUM. The device is opened at start.""",
    ),
    row(
        "krun_add_net_unixstream",
        "ctx:ctx path:str? fd:fd mac:mac features:u32 flags:u32",
        "A network card on a stream socket (passt, socket_vmnet). Either path, or a connected fd (then path is None).",
    ),
    row(
        "krun_add_net_unixgram",
        "ctx:ctx path:str? fd:fd mac:mac features:u32 flags:u32",
        "A network card on a datagram socket (gvproxy, vmnet-helper). flags: 1 sends the greeting of vfkit first.",
    ),
    row(
        "krun_set_port_map",
        "ctx:ctx ports:strs",
        """TCP ports of the host that TSI serves from the guest, each `HOST:GUEST`. An empty list serves
        none. ENODEV: the context has no vsock. ENOTSUP with a network card.""",
    ),
    row(
        "krun_add_vsock",
        "ctx:ctx tsi:u32",
        """The vsock device. tsi is a bit mask of what the host impersonates for the guest: 1 internet
        sockets, 2 Unix sockets; 0: nothing, so that the guest reaches only the ports added by hand. Where
        there is an implicit device, disable that first. EINVAL: there is one already.""",
        STABLE | DEVELOPMENT | SMOLMACHINES,
    ),
    row(
        "krun_add_vsock_port",
        "ctx:ctx port:u32 path:str",
        "A guest that connects to CID 2 and this port reaches the Unix socket at path.",
    ),
    row(
        "krun_add_vsock_port2",
        "ctx:ctx port:u32 path:str listen:bool",
        """With listen, the other way: libkrun listens on path, and who connects there reaches the guest's
        port. EEXIST: with listen, something is at path already. ENODEV: no vsock device.""",
    ),
    row(
        "krun_disable_implicit_vsock",
        "ctx:ctx",
        "Do not add a vsock device (with TSI) by yourself.",
        STABLE | DEVELOPMENT,
    ),
    row(
        "krun_disable_implicit_console",
        "ctx:ctx",
        "Do not add a console by yourself.",
        STABLE | DEVELOPMENT,
    ),
    row(
        "krun_set_console_output",
        "ctx:ctx path:str",
        "Write the implicit console to a file and ignore standard input. EINVAL: it was set before.",
        STABLE | DEVELOPMENT,
    ),
    row(
        "krun_add_virtio_console_default",
        "ctx:ctx input:fd output:fd error:fd",
        """A console on three descriptors, -1 for none. For each that is no terminal the guest's init
        connects the program's own standard stream to it.""",
    ),
    row(
        "krun_add_serial_console_default",
        "ctx:ctx input:fd output:fd",
        "A legacy serial port (`ttyS0`) on two descriptors.",
    ),
    row(
        "krun_add_virtio_console_multiport",
        "ctx:ctx",
        "A console device to which ports are added one by one; gives its number for them.",
        returns=Returns.NUMBER,
    ),
    row(
        "krun_add_console_port_tty",
        "ctx:ctx console:u32 name:str terminal:fd",
        "A port on a terminal, with its window size.",
    ),
    row(
        "krun_add_console_port_inout",
        "ctx:ctx console:u32 name:str input:fd output:fd",
        "A port for a plain stream of bytes in both directions; `/dev/vportNpM` in the guest.",
    ),
    row(
        "krun_add_input_device",
        "ctx:ctx config:pointer config_size:size events:pointer events_size:size",
        "An input device from two tables of callbacks (`libkrun_input.h`); sizes in bytes.",
    ),
    row("krun_add_input_device_fd", "ctx:ctx device:fd", "Pass a `/dev/input/*` of the host through."),
    row(
        "krun_add_vhost_user_device",
        "ctx:ctx type:u32 socket:str name:str? queues:u16 sizes:pointer",
        """A device that another process serves over a Unix socket. type: virtio device number (4 RNG, 25
        sound …). queues 0: ask the other side. sizes: array of uint16_t, NULL for 256 each.""",
        RECENT,
    ),
    row(
        "krun_set_snd_device",
        "ctx:ctx enable:bool",
        "A sound card. Only in builds with the feature; later ones use a vhost-user device.",
        STABLE,
    ),
    row(
        "krun_set_egress_policy",
        "ctx:ctx cidrs:strs? hosts:strs? resolvers:strs?",
        """What TSI lets the guest connect to: CIDRs, and host names that are resolved only by the given
        resolver addresses. EINVAL: neither CIDRs nor hosts, or hosts without resolvers. ENODEV: no vsock
        device.""",
        SMOLMACHINES,
    ),
    row(
        "krun_set_stream_intercept",
        "ctx:ctx address:str token:str limit:u32",
        """Hand the guest's TSI streams to a proxy on a loopback address `127.0.0.1:PORT`. token: 64 hex
        digits. limit: not 0. Not documented by its makers.""",
        SMOLMACHINES,
    ),
)
