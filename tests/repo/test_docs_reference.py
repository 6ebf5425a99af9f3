"""The reference pages say what the code knows: keys, what is allowed, defaults, events, checks, parameters.

`NULLBOX_UPDATE_DOCS=1` fills in the columns of docs/agent-toml.md that come from the code; meanings are written by
hand.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from doc_commands import ROOT, blocks

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.cage import manifest, plan, resources
from nullbox.cage.fields import FIELDS, MAX_LIST, REQUIRED, Field
from nullbox.cage.manifest import parse as parse_manifest
from nullbox.cage.problems import Refused
from nullbox.egress.dns import decide
from nullbox.egress.dns.decide import Kind
from nullbox.egress.events import KERNEL_KINDS
from nullbox.egress.reasons import TEXT
from nullbox.gateway import journal
from nullbox.gateway.doctor import CHECKS
from nullbox.guest import launcher, nullbox_agent
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.supervision import settings, tree

DOCS = ROOT / "docs"


def section(page: str, name: str) -> str:
    """What stands between `<!-- name -->` and the next `<!-- end -->`, or the end of the page."""
    match = re.search(rf"<!-- {name} -->\n(.*?)(?:<!-- end -->|\Z)", (DOCS / page).read_text(), re.DOTALL)
    assert match, f"{page} has no <!-- {name} -->"
    return match[1]


def rows(page: str, name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in section(page, name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def column(page: str, name: str, number: int = 0) -> list[str]:
    return [row[number].strip("`") for row in rows(page, name)]


# --- AGENT.toml


def allowed(field: Field) -> str:
    """What the check itself says is allowed."""
    try:
        field.check(object())
    except Refused as refusal:
        text = str(refusal).replace("|", "\\|").replace("*", "\\*")
        return f"a list; each: {text}" if field.each else text
    raise AssertionError("a check accepts anything")


def default(field: Field) -> str:
    value = field.default
    if value is REQUIRED:
        return "required"
    if value is None:
        return "see there"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[{}]`".format(", ".join(f'"{item}"' for item in value))
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def manifest_table() -> str:
    meanings = {row[0].strip("`"): row[3] for row in rows("agent-toml.md", "keys")}
    lines = ["| key | allowed | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in FIELDS.items():
        lines.append(f"| `{key}` | {allowed(field)} | {default(field)} | {meanings.get(key, '')} |")
    return "\n".join(lines) + "\n"


def test_every_key_of_agent_toml_is_there_with_what_the_parser_says() -> None:
    page = DOCS / "agent-toml.md"
    if os.environ.get("NULLBOX_UPDATE_DOCS"):
        page.write_text(page.read_text().replace(section("agent-toml.md", "keys"), manifest_table()))
    assert section("agent-toml.md", "keys") == manifest_table(), "NULLBOX_UPDATE_DOCS=1 fills in all but the meanings"
    assert all(row[3] for row in rows("agent-toml.md", "keys")), "a key has no meaning"


def toml_blocks(page: str) -> list[str]:
    return ["\n".join(block.lines) for block in blocks((DOCS / page).read_text()) if block.info == "toml"]


def dotted(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_example_of_agent_toml_is_sound_and_has_every_key() -> None:
    example = toml_blocks("agent-toml.md")[0]
    parse_manifest(example)
    keys = {key for key in dotted(tomllib.loads(example)) if not key.startswith("tools.")}
    assert keys == set(FIELDS)


def test_every_manifest_in_a_document_is_sound() -> None:
    found = 0
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for block in blocks(page.read_text()):
            text = "\n".join(block.lines)
            if block.info == "toml" and "[agent]" in text:
                parse_manifest(text)
                found += 1
    assert found >= 3


# --- nulld.toml


def nest(keys: list[str], value: object) -> dict[str, Any]:
    found: Any = value
    for key in reversed(keys):
        found = {key: found}
    return dict(found) if keys else {"": value}


def below(path: list[str]) -> list[str]:
    """The keys that the parser allows below a table, [] where there is no table: as its own messages say."""
    nonsense: object = {"§": 0} if not path else object()
    try:
        settings.parse(nonsense if not path else nest(path, nonsense))  # type: ignore[arg-type]
    except NullBoxError as error:
        match = re.search(r"allowed: (?:a table with )?(.*)", error.message) if not path else None
        match = match or re.search(r"allowed: a table with (.*)", error.message)
        return match[1].split(", ") if match else []
    raise AssertionError(f"{path} takes anything")


def keys_of_nulld_toml(path: list[str] | None = None) -> Iterator[str]:
    path = path or []
    for name in below(path):
        here = [*path, name]
        inner = below(here)
        if inner:
            yield from keys_of_nulld_toml(here)
        else:
            yield ".".join(here)


def test_every_key_of_nulld_toml_is_explained() -> None:
    keys = {re.sub(r"^service\.\w+\.", "service.NAME.", key) for key in keys_of_nulld_toml()}
    assert "service.NAME.backoff.initial" in keys, "the walk over the parser finds too little"
    assert set(column("nulld-toml.md", "keys")) == keys
    assert all(row[1] for row in rows("nulld-toml.md", "keys"))


def test_the_defaults_of_nulld_toml_are_the_defaults() -> None:
    shown = tomllib.loads(toml_blocks("nulld-toml.md")[0])
    assert set(dotted(shown)) == set(keys_of_nulld_toml())
    layout = Layout()
    builtin, said = settings.Settings(), settings.parse(shown)
    assert tree.service_specs(said, layout) == tree.service_specs(builtin, layout)
    assert (said.intensity, said.heartbeat, said.driver) == (builtin.intensity, builtin.heartbeat, builtin.driver)


def test_the_file_in_the_image_says_nothing_unknown() -> None:
    settings.parse(tomllib.loads((ROOT / "image" / "config" / "nulld.toml").read_text()))


def test_the_kernel_parameters_are_there_with_their_defaults() -> None:
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows("nulld-toml.md", "cmdline")}
    options = Cmdline()
    known = {f"nullbox.{field.name}": getattr(options, field.name) for field in fields(Cmdline)}
    assert shown == {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in known.items()}


# --- events


def event_kinds() -> set[str]:
    """The first argument of whatever puts an event on record."""
    found: set[str] = set()
    for folder in ("nullbox/supervision", "nullbox/gateway"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    name = ast.unparse(node.func).rpartition(".")
                    records = name[2] in ("Emit", "note") or (name[2] == "add" and name[0].endswith("journal"))
                    if records and isinstance(node.args[0].value, str):
                        found.add(node.args[0].value)
    return found


def test_every_kind_of_event_is_explained() -> None:
    kinds = event_kinds()
    assert {"state", "exit", "crash", "boot", "denied", "command"} <= kinds, "the walk over the code finds too little"
    assert set(column("events.md", "kinds")) == kinds
    assert all(row[1] and row[3] for row in rows("events.md", "kinds"))


def denial_kinds() -> set[str]:
    """Kinds of the resolver's verdicts, of the kernel's record, the constants that egress reports, and what ctxgraph's
    own record says."""
    record = (ROOT / "nullbox" / "ctxgraph" / "denials.py").read_text()
    found = {kind.replace("{method}", "METHOD") for kind in re.findall(r'f"(ctxgraph \{method\})"', record)}
    found |= {kind.value for kind in Kind} - {Kind.ASK.value, Kind.NO_DATA.value} | set(KERNEL_KINDS)
    for path in (ROOT / "nullbox" / "egress").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            at = {"_report": 0, "Denial": 1}.get(name)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                found.add(str(node.args[at].value))  # type: ignore[attr-defined]
    return found


def test_every_kind_of_denial_is_explained() -> None:
    kinds = denial_kinds()
    assert {"packet", "spoofed", "rebinding", "rate", "ctxgraph METHOD"} <= kinds, (
        "the walk over the code finds too little"
    )
    assert set(column("events.md", "denials")) == kinds


def test_every_reason_of_a_refused_packet_is_there() -> None:
    assert column("events.md", "reasons") == list(TEXT.values())


# --- operations, agents


def findings_of_doctor() -> list[str]:
    """The names of the checks, in their order, from the findings that each can make."""
    names = []
    for check in CHECKS:
        source = Path(check.__code__.co_filename).read_text()
        function = next(
            n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == check.__name__
        )
        made = {
            str(node.args[0].value)
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) == "Finding"
            and isinstance(node.args[0], ast.Constant)
        }
        assert len(made) == 1, f"{check.__name__} has findings of the names {made}"
        names += made
    return names


def test_every_check_of_doctor_is_explained() -> None:
    assert column("operations.md", "checks") == findings_of_doctor()


def test_the_environment_of_agents_is_what_the_launcher_sets() -> None:
    source = (ROOT / "nullbox" / "guest" / "launcher.py").read_text()
    shown = re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "agents.md").read_text(), re.MULTILINE)
    assert shown == ["AGENT_NAME", "AGENT_VERSION", "CTXGRAPH_PORT"]
    assert all(f'"{name}"' in source for name in shown)


def test_every_design_decision_is_in_the_index() -> None:
    index = (DOCS / "design" / "index.md").read_text()
    pages = {path.name for path in (DOCS / "design").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == pages


# --- numbers

NUMBERS = (
    ("events.md", f"keeps the last {journal.KEEP:,}"),
    ("events.md", f"longer than {decide.MAX_STAR_LABEL} characters"),
    ("agent-toml.md", f"{resources.OVERHEAD_MIB} MiB more for the VMM"),
    (
        "agent-toml.md",
        f"room for {['no', 'one', 'two', 'three', 'four', 'five', 'six'][plan.MAX_GRANTS]} filesystem grants",
    ),
    ("agent-toml.md", f"at most {manifest.MAX_BYTES // 1024} KiB"),
    ("agent-toml.md", f"at most {MAX_LIST} entries"),
    ("agents.md", f"vsock | CID {nullbox_agent.HOST_CID}, port {nullbox_agent.DEFAULT_PORT}"),
    ("agents.md", f"exit code is {launcher.FAILED}"),
)


@pytest.mark.parametrize(("page", "text"), NUMBERS)
def test_a_number_in_a_page_is_the_codes(page: str, text: str) -> None:
    assert text in " ".join((DOCS / page).read_text().split())


# --- maps


def test_the_map_of_the_code_has_every_folder() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "nullbox").glob("*/__init__.py")]
    folders += [Path(name) for name in ("pykrun", "agents", "kernel", "image", "tests", "docs", "bench")]
    assert [str(folder) for folder in folders if f"`{folder}/`" not in text] == []


def test_the_map_of_the_tests_has_every_folder() -> None:
    text = (DOCS / "contributing" / "tests.md").read_text()
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(folder for folder in folders if f"`tests/{folder}/`" not in text) == []
