"""The hardening table: every recommendation gets one verdict, and a table that says too little is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import check, hardening, source, system
from kernel.hardening import Setting, System, Verdict

TABLE = hardening.parse_table(
    """
    source = "a document"
    kernel = "6.12"
    [config]
    BUG = { want = "y", why = "stops" }
    DEVMEM = { want = "n", why = "no memory" }
    STRICT_DEVMEM = { want = "y", or = ["DEVMEM=n", "UML=y"], why = "little memory" }
    CFI_CLANG = { want = "y", why = "right calls" }
    [cmdline]
    slab_nomerge = { want = "", why = "kinds apart" }
    init_on_free = { want = "1", or = ["INIT_ON_FREE_DEFAULT_ON=y"], why = "zero" }
    [sysctl]
    "kernel.kptr_restrict" = { want = "2", why = "no addresses" }
    [own.config]
    IO_URING = { want = "n", why = "holes", source = "a report" }
    [[exception]]
    compiler = "gcc"
    config = ["CFI_CLANG"]
    why = "clang only"
    """
)
GOOD = System({"BUG": "y", "INIT_ON_FREE_DEFAULT_ON": "y"}, {"slab_nomerge": ""}, {"kernel.kptr_restrict": "2"}, "virt")


def verdicts(machine: System) -> dict[str, Verdict]:
    return {finding.setting.name: finding.verdict for finding in hardening.assess(TABLE, machine)}


def test_each_way_to_meet_a_recommendation_has_its_verdict() -> None:
    assert verdicts(GOOD) == {
        "BUG": Verdict.HOLDS,
        "DEVMEM": Verdict.HOLDS,  # absent is n
        "STRICT_DEVMEM": Verdict.HOLDS_OTHERWISE,
        "CFI_CLANG": Verdict.EXCEPTION,
        "slab_nomerge": Verdict.HOLDS,
        "init_on_free": Verdict.HOLDS_OTHERWISE,
        "kernel.kptr_restrict": Verdict.HOLDS,
        "IO_URING": Verdict.HOLDS,
    }


def test_what_is_missed_without_a_reason_is_a_fault() -> None:
    nothing = System({"IO_URING": "y", "DEVMEM": "y"})
    missing = {str(fault.setting) for fault in hardening.faults(hardening.assess(TABLE, nothing))}
    assert missing == {
        "CONFIG_BUG=y",
        "CONFIG_DEVMEM=n",
        "CONFIG_STRICT_DEVMEM=y",
        "slab_nomerge",
        "init_on_free=1",
        "kernel.kptr_restrict=2",
        "CONFIG_IO_URING=n",
    }


def test_a_fault_says_what_was_found_and_what_the_setting_is_for() -> None:
    findings = hardening.assess(TABLE, System({**GOOD.config, "IO_URING": "y"}, GOOD.cmdline, GOOD.sysctl))
    assert [str(fault) for fault in hardening.faults(findings)] == ["CONFIG_IO_URING=n: missing, is y (holes)"]


def test_an_exception_that_has_become_needless_is_a_fault() -> None:
    machine = System({**GOOD.config, "CFI_CLANG": "y"}, GOOD.cmdline, GOOD.sysctl)
    (fault,) = hardening.faults(hardening.assess(TABLE, machine))
    assert (fault.setting.name, fault.verdict) == ("CFI_CLANG", Verdict.NEEDLESS_EXCEPTION)


def test_an_exception_for_one_compiler_does_not_excuse_the_other() -> None:
    machine = System({**GOOD.config, "CC_IS_CLANG": "y"}, GOOD.cmdline, GOOD.sysctl)
    assert verdicts(machine)["CFI_CLANG"] is Verdict.MISSING


def test_an_exception_for_one_flavour_does_not_excuse_the_other() -> None:
    text = hardening.TABLE.read_text()
    table = hardening.parse_table(text)
    by_flavour = {
        flavour: {
            f.setting.name
            for f in hardening.assess(table, System({}, flavour=flavour))
            if f.detail and f.verdict is Verdict.EXCEPTION
        }
        for flavour in ("virt", "hardware")
    }
    assert "AMD_IOMMU" in by_flavour["virt"] - by_flavour["hardware"]


def test_a_parameter_that_undoes_an_option_is_found() -> None:
    machine = System(GOOD.config, {**GOOD.cmdline, "init_on_free": "0"}, GOOD.sysctl)
    assert verdicts(machine)["init_on_free"] is Verdict.MISSING


names = st.sampled_from(
    [setting.name for setting in TABLE.settings] + ["UML", "CC_IS_CLANG", "INIT_ON_FREE_DEFAULT_ON"]
)
values = st.dictionaries(names, st.sampled_from(["y", "n", "", "1", "2"]))


@given(values, values, values)
def test_every_setting_gets_exactly_one_verdict_and_counts_once(
    config: dict[str, str], cmdline: dict[str, str], sysctl: dict[str, str]
) -> None:
    findings = hardening.assess(TABLE, System(config, cmdline, sysctl))
    assert [finding.setting for finding in findings] == list(TABLE.settings)
    for finding in findings:
        value = System(config, cmdline, sysctl).value(finding.setting.kind, finding.setting.name)
        if finding.verdict is Verdict.HOLDS:
            assert value == finding.setting.want
        if finding.verdict is Verdict.MISSING:
            assert value != finding.setting.want


def test_the_score_counts_each_recommendation_once() -> None:
    line = hardening.summary(TABLE, hardening.assess(TABLE, GOOD))
    assert line == (
        "7 of 8 recommendations for 6.12 hold (2 by another option), 1 are exceptions with a reason, 0 are missing"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[config", "not TOML"),
        ('[config]\nA = { want = "y", why = "w" }', "A: a row is"),  # no source anywhere
        ('source = "s"\n[config]\nA = { want = "y" }', "A: a row is"),
        ('source = "s"\n[config]\nA = { want = 1, why = "w" }', "A: a row is"),
        ('source = "s"\n[config]\nA = { want = "y", or = ["B"], why = "w" }', "an alternative is"),
        (
            'source = "s"\n[config]\nA = { want = "y", why = "w" }\n'
            '[own.config]\nA = { want = "y", why = "w", source = "t" }',
            "named twice: A",
        ),
        ('[[exception]]\nconfig = ["A"]\nwhy = "w"', "exceptions to what nobody recommends: A"),
        ('[[exception]]\nconfig = ["A"]', "an exception names settings"),
        ('[[exception]]\nwhy = "w"', "an exception names settings"),
        ('[own.config]\nA = { want = "y", why = "w" }', "A: a row is"),
    ],
)
def test_a_table_that_says_too_little_is_refused(text: str, said: str) -> None:
    with pytest.raises(hardening.TableError, match=said.replace("(", r"\(")):
        hardening.parse_table(text)


def test_the_last_of_equal_parameters_counts_as_it_does_for_the_kernel() -> None:
    assert hardening.parse_cmdline("ro panic=10 slab-nomerge panic=-1 dm=a=b") == {
        "ro": "",
        "panic": "-1",
        "slab_nomerge": "",
        "dm": "a=b",
    }


def test_the_kernels_own_command_line_comes_before_the_boot_loaders() -> None:
    config = check.parse('CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE="pti=on panic=5"\n')
    assert hardening.built_in_cmdline(config) == "pti=on panic=5"
    assert hardening.built_in_cmdline({}) == ""


def test_our_table_is_for_the_kernel_that_we_build() -> None:
    assert hardening.load().kernel == source.SERIES


def test_our_table_names_no_option_both_as_gone_and_as_recommended() -> None:
    table = hardening.load()
    assert {setting.name for setting in table.settings} & set(table.gone) == set()
    assert all(table.gone.values())


def test_what_we_boot_with_has_every_recommended_sysctl_or_a_reason() -> None:
    # With an empty .config only sysctls that a feature of the kernel would have needed may be missing.
    _, findings = system.assess({}, "virt")
    assert [
        finding.setting.name
        for finding in hardening.faults(findings)
        if finding.setting.kind == "sysctl" and not finding.setting.alternatives
    ] == []


def test_a_setting_is_written_as_its_document_writes_it() -> None:
    def shown(kind: hardening.Kind, name: str, want: str) -> str:
        return str(Setting(kind, name, want, "why", "source"))

    assert shown("config", "BUG", "y") == "CONFIG_BUG=y"
    assert shown("cmdline", "nosmt", "") == "nosmt"
    assert shown("sysctl", "kernel.panic", "1") == "kernel.panic=1"


def test_the_command_line_reports_the_score_and_fails_on_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_MODULES=y\n")
    assert check.main(["--kspp", str(config)]) == 1
    assert "CONFIG_MODULES=n: missing, is y" in capsys.readouterr().out


def test_the_command_line_wants_one_standard(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        check.main([str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        check.main(["--kspp", str(tmp_path), str(tmp_path)])
