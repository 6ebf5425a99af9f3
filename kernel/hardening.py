"""Hold a kernel's configuration, command line and sysctls against the table in `kspp.toml` (pure, but for `load`).

Every recommendation ends in exactly one verdict. A recommendation that does not hold and is no exception is a fault; so
is an exception whose recommendation holds after all, since its reason is no longer true.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args

TABLE = Path(__file__).parent / "kspp.toml"

Kind = Literal["config", "cmdline", "sysctl"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class TableError(ValueError):
    """`kspp.toml` is not as it should be; the message says where."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One recommendation. `alternatives` are (option, value) pairs with any of which it holds as well.

    `want` is written as in a `.config`, where `n` is unset; a command line parameter without a value wants "".
    """

    kind: Kind
    name: str
    want: str
    why: str
    source: str
    alternatives: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.kind == "config":
            return f"CONFIG_{self.name}={self.want}"
        return f"{self.name}={self.want}" if self.want else self.name


@dataclass(frozen=True, slots=True)
class Exemption:
    """Recommendations that are not followed, and why; limited to a flavour or compiler where one is named."""

    settings: frozenset[tuple[Kind, str]]
    why: str
    flavour: str | None = None
    compiler: str | None = None

    def applies(self, flavour: str, compiler: str) -> bool:
        return self.flavour in (None, flavour) and self.compiler in (None, compiler)


@dataclass(frozen=True, slots=True)
class Table:
    """All of `kspp.toml`. `gone` are options that the kernel version no longer has, with what became of them."""

    kernel: str
    settings: tuple[Setting, ...]
    exemptions: tuple[Exemption, ...]
    gone: Mapping[str, str]


class Verdict(Enum):
    """What a kernel makes of one recommendation."""

    HOLDS = "holds"
    HOLDS_OTHERWISE = "holds by another option"
    EXCEPTION = "exception"
    MISSING = "missing"
    NEEDLESS_EXCEPTION = "exception, but holds"


FAULTS = frozenset({Verdict.MISSING, Verdict.NEEDLESS_EXCEPTION})


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one recommendation. `found` is the value that is there; `detail` the reason of the verdict."""

    setting: Setting
    verdict: Verdict
    found: str
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.setting}: {self.verdict.value}"
        if self.verdict in FAULTS:
            text += f", is {self.found or '(empty)'}"
        return f"{text} ({self.detail})" if self.detail else text


@dataclass(frozen=True, slots=True)
class System:
    """What is held against the table. An option absent from `config` is `n`; the last of equal parameters counts."""

    config: Mapping[str, str]
    cmdline: Mapping[str, str] = field(default_factory=dict)
    sysctl: Mapping[str, str] = field(default_factory=dict)
    flavour: str = "virt"

    @property
    def compiler(self) -> str:
        return "clang" if self.config.get("CC_IS_CLANG") == "y" else "gcc"

    def value(self, kind: Kind, name: str) -> str | None:
        """The value of a setting; None is one that nobody set."""
        if kind == "config":
            return self.config.get(name, "n")
        return (self.cmdline if kind == "cmdline" else self.sysctl).get(name)


def load(path: Path = TABLE) -> Table:
    """Read the table from its file."""
    return parse_table(path.read_text())


def parse_table(text: str) -> Table:
    """Read the table; raises `TableError` where it does not say what a table has to say."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"not TOML: {error}") from None
    settings = [
        _setting(kind, name, row, source)
        for rows, source in ((raw, str(raw.get("source", ""))), (raw.get("own", {}), ""))
        for kind in KINDS
        for name, row in rows.get(kind, {}).items()
    ]
    known = Counter((setting.kind, setting.name) for setting in settings)
    if twice := [name for (_, name), count in known.items() if count > 1]:
        raise TableError(f"named twice: {', '.join(twice)}")
    gone = {str(name): str(fate) for name, fate in raw.get("gone", {}).items()}
    exemptions = tuple(_exemption(row) for row in raw.get("exception", []))
    unknown = {name for row in exemptions for kind, name in row.settings if (kind, name) not in known}
    if unknown:
        raise TableError(f"exceptions to what nobody recommends: {', '.join(sorted(unknown))}")
    return Table(str(raw.get("kernel", "")), tuple(settings), exemptions, gone)


def _setting(kind: Kind, name: str, row: Mapping[str, Any], source: str) -> Setting:
    source = row.get("source", source)
    if not isinstance(row.get("want"), str) or not row.get("why") or not source:
        raise TableError(f'{name}: a row is {{ want = "…", why = "…" }} with a source, of its own or of the file')
    alternatives = []
    for text in row.get("or", []):
        option, equals, value = text.partition("=")
        if not equals:
            raise TableError(f'{name}: an alternative is "OPTION=value", not {text!r}')
        alternatives.append((option, value))
    return Setting(kind, name, row["want"], row["why"], source, tuple(alternatives))


def _exemption(row: Mapping[str, Any]) -> Exemption:
    names = frozenset((kind, str(name)) for kind in KINDS for name in row.get(kind, []))
    if not names or not row.get("why"):
        raise TableError(f"an exception names settings and why they are not followed; found {dict(row)}")
    return Exemption(names, row["why"], row.get("flavour"), row.get("compiler"))


def parse_cmdline(text: str) -> dict[str, str]:
    """Kernel parameters by name; the last one of a name counts, and one without `=` has the value "".

    Dashes and underscores are the same to the kernel (Documentation/admin-guide/kernel-parameters.rst).
    """
    parameters = {}
    for word in text.split():
        name, _, value = word.partition("=")
        parameters[name.replace("-", "_")] = value
    return parameters


def built_in_cmdline(config: Mapping[str, str]) -> str:
    """What the kernel puts before the boot loader's command line."""
    return config.get("CMDLINE", "").strip('"') if config.get("CMDLINE_BOOL") == "y" else ""


def assess(table: Table, system: System) -> list[Finding]:
    """The verdict on every recommendation, in the table's order."""
    excused = {
        key: row.why for row in table.exemptions if row.applies(system.flavour, system.compiler) for key in row.settings
    }
    return [_judge(setting, system, excused.get((setting.kind, setting.name))) for setting in table.settings]


def _judge(setting: Setting, system: System, excuse: str | None) -> Finding:
    value = system.value(setting.kind, setting.name)
    found = "not set" if value is None else value
    other = next((f"{o}={v}" for o, v in setting.alternatives if system.config.get(o, "n") == v), None)
    if excuse is not None:
        holds = value == setting.want or other is not None
        return Finding(setting, Verdict.NEEDLESS_EXCEPTION if holds else Verdict.EXCEPTION, found, excuse)
    if value == setting.want:
        return Finding(setting, Verdict.HOLDS, found)
    if other is not None and not _contradicts(setting, value):
        return Finding(setting, Verdict.HOLDS_OTHERWISE, found, other)
    return Finding(setting, Verdict.MISSING, found, setting.why)


def _contradicts(setting: Setting, value: str | None) -> bool:
    """Whether a parameter or sysctl was set to something else, so that the initial value from an option is gone."""
    return setting.kind != "config" and value is not None


def faults(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that must not be."""
    return [finding for finding in findings if finding.verdict in FAULTS]


def summary(table: Table, findings: Sequence[Finding]) -> str:
    """The score in one line."""
    count = Counter(finding.verdict for finding in findings)
    held = count[Verdict.HOLDS] + count[Verdict.HOLDS_OTHERWISE] + count[Verdict.NEEDLESS_EXCEPTION]
    return (
        f"{held} of {len(findings)} recommendations for {table.kernel} hold "
        f"({count[Verdict.HOLDS_OTHERWISE]} by another option), {count[Verdict.EXCEPTION]} are exceptions with a "
        f"reason, {count[Verdict.MISSING]} are missing"
    )


def report(table: Table, findings: Sequence[Finding]) -> str:
    """Every exception by reason, every fault, then the score."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict is Verdict.EXCEPTION:
            reasons.setdefault(finding.detail, []).append(str(finding.setting))
    lines = [f"exception: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    lines += [str(finding) for finding in faults(findings)]
    return "\n".join([*lines, summary(table, findings)])
