"""Rows: logging, contexts, the machine's size, what runs in it, and starting it."""

from __future__ import annotations

from pykrun.abi import DEVELOPMENT, EVERYWHERE, RECENT, SMOLMACHINES, STABLE, Function, Returns, row

ROWS: tuple[Function, ...] = (
    row(
        "krun_set_log_level",
        "level:u32",
        """Log to standard error. Levels: 0 off, 1 error, 2 warning, 3 info, 4 debug, 5 trace. Once a
        process: a second call aborts it.""",
    ),
    row(
        "krun_init_log",
        "target:fd level:u32 style:u32 options:u32",
        """Set logging up in full. target: descriptor to write to, -1 for standard error (0 is EINVAL).
        style of colours: 0 where there is a terminal, 1 always, 2 never. options: 1 ignores the
        environment's RUST_LOG. Once a process.""",
    ),
    row(
        "krun_create_ctx",
        "",
        "Make a configuration context; it loads libkrunfw if it can be found. Never reuses a number.",
        returns=Returns.CONTEXT,
    ),
    row("krun_free_ctx", "ctx:ctx", "Drop a context that was not started."),
    row(
        "krun_set_vm_config",
        "ctx:ctx vcpus:u8 ram_mib:u32",
        """Size of the machine: number of virtual CPUs, and guest memory in MiB (not counting the window of
        a DAX share). EINVAL: no vCPU or no memory.""",
    ),
    row(
        "krun_set_exec",
        "ctx:ctx path:str argv:strs? envp:strs?",
        """What the guest's init runs. path: absolute, inside the guest's root. argv: the arguments *after*
        the program's name. envp: `NAME=value`; None copies this process's whole environment. All of it
        travels on the guest kernel's command line between double quotes: no `"` can be in it, and on x86-64
        it has to fit 2,048 bytes with the rest.""",
    ),
    row("krun_set_env", "ctx:ctx envp:strs?", "Only the environment part of `krun_set_exec`."),
    row("krun_set_workdir", "ctx:ctx path:str", "Working directory of the program, inside the guest's root."),
    row(
        "krun_set_rlimits",
        "ctx:ctx limits:strs",
        "Resource limits in the guest, each `RESOURCE=SOFT:HARD`; RESOURCE is its number or name, see setrlimit(2).",
    ),
    row(
        "krun_set_smbios_oem_strings",
        "ctx:ctx strings:strs",
        "Texts that the guest finds in its SMBIOS tables as OEM strings.",
    ),
    row(
        "krun_set_kernel",
        "ctx:ctx path:str format:u32 initramfs:str? cmdline:str?",
        """A kernel of one's own in place of libkrunfw's. format: 0 raw, 1 ELF, 2 PE gzip, 3 bzip2, 4 gzip,
        5 zstd image.""",
    ),
    row("krun_set_firmware", "ctx:ctx path:str", "A firmware file to start instead of a kernel."),
    row(
        "krun_set_kernel_console",
        "ctx:ctx console:str",
        "The value of `console=` on the guest kernel's command line (`hvc0`, `ttyS0`).",
    ),
    row(
        "krun_disable_implicit_init",
        "ctx:ctx",
        "Do not add libkrun's own `/init.krun` to the root share. Call it before the root is added.",
        RECENT,
    ),
    row(
        "krun_get_default_init",
        "data:pointer length:pointer",
        """Address and size in bytes of the built-in init: a `const uint8_t **` and a `size_t *` to fill.
        Static data. ENOTSUP: built without one.""",
        RECENT,
    ),
    row(
        "krun_setuid",
        "ctx:ctx uid:u32",
        "User id that the VMM takes on just before the guest starts, after it opened its devices.",
    ),
    row("krun_setgid", "ctx:ctx gid:u32", "Group id that the VMM takes on just before the guest starts."),
    row(
        "krun_set_nested_virt",
        "ctx:ctx enabled:bool",
        "Ask for virtualization inside the guest. Success says nothing about whether the machine can do it.",
    ),
    row(
        "krun_check_nested_virt",
        "",
        "Whether this machine allows virtualization inside guests.",
        returns=Returns.FLAG,
    ),
    row(
        "krun_has_feature",
        "feature:u64",
        """Whether the build has a feature: 0 net, 1 blk, 2 gpu, 3 sound, 4 input, 6 TEE, 7 SEV, 8 TDX, 9
        Nitro, 10 virgl resource map, 11 built-in init. EINVAL: this build has never heard of it.""",
        returns=Returns.FLAG,
    ),
    row(
        "krun_get_max_vcpus",
        "",
        "The most virtual CPUs that the hypervisor takes. EINVAL: /dev/kvm cannot be opened.",
        returns=Returns.NUMBER,
    ),
    row(
        "krun_split_irqchip",
        "ctx:ctx enable:bool",
        """Emulate the interrupt controllers partly in the VMM (x86-64 only). Without it a machine has 11
        interrupt lines for devices.""",
    ),
    row(
        "krun_get_shutdown_eventfd",
        "ctx:ctx",
        "An eventfd that asks the guest to shut down when written to. EINVAL on Linux for x86-64: there is none.",
        returns=Returns.DESCRIPTOR,
    ),
    row(
        "krun_get_last_error",
        "",
        "Why the last `krun_start_enter` of this thread failed, in words; NULL when nothing did.",
        SMOLMACHINES,
        Returns.TEXT,
    ),
    row(
        "krun_start_enter",
        "ctx:ctx",
        """Start the machine and give this process to it. It ends with the exit code of the guest's program;
        125: init could not set up the guest, 126: the program cannot be executed, 127: there is no such
        program. It returns only when the machine could not be built: EINVAL.""",
        returns=Returns.NEVER,
    ),
    row(
        "krun_set_tee_config_file",
        "ctx:ctx path:str",
        "Configuration of a confidential machine. Only in the SEV and TDX builds.",
        STABLE | DEVELOPMENT,
    ),
    row(
        "krun_set_cpu_template",
        "ctx:ctx template:u32",
        "Hide processor features so that a checkpoint moves between machines. 1 is the only one. ENOTSUP off Intel.",
        SMOLMACHINES,
    ),
    row(
        "krun_set_live_resize",
        "ctx:ctx what:u32",
        "What may grow while the machine runs, as a bit mask of 0 to 3. Not documented by its makers.",
        SMOLMACHINES,
    ),
)

assert all(function.families & EVERYWHERE for function in ROWS)
