"""AGENT.toml: defaults, every rule, all errors at once, and no outcome but a manifest or a ManifestError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nullbox.cage.fields import FIELDS
from nullbox.cage.hosts import HostRule
from nullbox.cage.manifest import HealthCheck, Manifest, parse
from nullbox.cage.problems import ManifestError
from nullbox.protocols.errors import ErrorCode

SMALL = '[agent]\nname = "a"\n'

FULL = """
[agent]
name = "researcher"
version = "1.2.0"
runtime = "python"
entrypoint = ["src/main.py", "--fast"]
restart = "always"
autostart = false

[capabilities]
shell = false
credential_refs = ["OPENAI_KEY"]
accelerator = "none"
max_cpu_percent = 40
max_memory_mb = 512
max_api_calls_per_hour = 200

[capabilities.network]
allow = ["api.openai.com", "*.Example.com:8443"]

[capabilities.filesystem]
read = ["/data/corpus"]
write = ["/data/output"]

[capabilities.ctxgraph]
read = ["research."]
write = []

[capabilities.health_check]
port = 8080

[tools]
send_email = { risk = "low" }
"""


def errors(source: bytes | str) -> dict[str, str]:
    with pytest.raises(ManifestError) as caught:
        parse(source)
    assert caught.value.code is ErrorCode.INVALID
    listed = caught.value.data["errors"]
    assert listed, "an error without errors"
    for entry in listed:
        assert set(entry) == {"key", "found", "allowed"}
        assert all(isinstance(text, str) and text for text in entry.values())
        assert f"{entry['key']}: found {entry['found']}" in caught.value.message
    return {entry["key"]: entry["allowed"] for entry in listed}


def test_the_least_manifest_has_the_documented_defaults() -> None:
    manifest = parse(SMALL)
    assert manifest == Manifest(
        name="a",
        version="0.0.0",
        runtime="binary",
        entrypoint=("a",),
        restart="on-failure",
        autostart=True,
        shell=False,
        credential_refs=(),
        accelerator="none",
        max_cpu_percent=25,
        max_memory_mb=256,
        max_api_calls_per_hour=0,
        allow=(),
        read=(),
        write=(),
        ctx_read=("",),
        ctx_write=("",),
        health_check=None,
        tools={},
    )
    assert parse(SMALL + 'runtime = "python"').entrypoint == ("main.py",)


def test_a_full_manifest() -> None:
    manifest = parse(FULL.encode())
    assert manifest.entrypoint == ("src/main.py", "--fast")
    assert manifest.allow == (HostRule("api.openai.com", 443), HostRule("*.example.com", 8443))
    assert (manifest.read, manifest.write) == (("/data/corpus",), ("/data/output",))
    assert (manifest.ctx_read, manifest.ctx_write) == (("research.",), ())
    assert manifest.health_check == HealthCheck(8080, "/health", 30, 3)
    assert manifest.tools == {"send_email": "low"}


@pytest.mark.parametrize(
    ("lines", "key", "words"),
    [
        ("[agent]", "agent.name", "required"),
        ("", "agent.name", "required"),
        ('[agent]\nname = "Upper"', "agent.name", "^[a-z]"),
        ('[agent]\nname = "a\\n"', "agent.name", "^[a-z]"),
        (f'[agent]\nname = "{"a" * 33}"', "agent.name", "^[a-z]"),
        ("[agent]\nname = 3", "agent.name", "^[a-z]"),
        ('agent = "x"', "agent", "a table"),
        (SMALL + 'version = "1 2"', "agent.version", "letters"),
        (SMALL + 'runtime = "wasm"', "agent.runtime", '"binary" | "python"'),
        (SMALL + "entrypoint = []", "agent.entrypoint", "the program"),
        (SMALL + 'entrypoint = "main.py"', "agent.entrypoint", "a list"),
        (SMALL + 'entrypoint = ["../main.py"]', "agent.entrypoint[0]", "inside the agent's folder"),
        (SMALL + 'entrypoint = ["/bin/sh"]', "agent.entrypoint[0]", "inside the agent's folder"),
        (SMALL + 'entrypoint = ["a//b"]', "agent.entrypoint[0]", "inside the agent's folder"),
        (SMALL + 'entrypoint = ["."]', "agent.entrypoint[0]", "inside the agent's folder"),
        (SMALL + 'entrypoint = ["a", "x\\u0000"]', "agent.entrypoint[1]", "printable"),
        (SMALL + 'restart = "sometimes"', "agent.restart", '"always"'),
        (SMALL + "autostart = 1", "agent.autostart", "true or false"),
        (SMALL + "colour = 1", "agent.colour", "autostart, entrypoint, name"),
        (SMALL + "[capabilities]\nmax_cpu_percent = 0", "capabilities.max_cpu_percent", "from 1 to 100"),
        (SMALL + "[capabilities]\nmax_cpu_percent = true", "capabilities.max_cpu_percent", "from 1 to 100"),
        (SMALL + "[capabilities]\nmax_cpu_percent = 40.0", "capabilities.max_cpu_percent", "from 1 to 100"),
        (SMALL + "[capabilities]\nmax_memory_mb = 63", "capabilities.max_memory_mb", "from 64"),
        (SMALL + "[capabilities]\nmax_api_calls_per_hour = -1", "capabilities.max_api_calls_per_hour", "from 0"),
        (SMALL + '[capabilities]\naccelerator = "cuda"', "capabilities.accelerator", '"none"'),
        (SMALL + '[capabilities]\ncredential_refs = ["a-b"]', "capabilities.credential_refs[0]", "OPENAI_KEY"),
        (SMALL + '[capabilities]\ncredential_refs = ["A", "A"]', "capabilities.credential_refs[1]", "each entry once"),
        (SMALL + "[capabilities]\nnetwork = 3", "capabilities.network", "a table"),
        (SMALL + "[capabilities.network]\ndeny = []", "capabilities.network.deny", "allow"),
        (SMALL + "[capabilities.network]\nallow = [3]", "capabilities.network.allow[0]", "host names"),
        (SMALL + "[capabilities.health_check]", "capabilities.health_check.port", "required"),
        (SMALL + "[capabilities.health_check]\nport = 0", "capabilities.health_check.port", "from 1 to 65535"),
        (SMALL + '[capabilities.health_check]\nport = 1\npath = "x"', "capabilities.health_check.path", "/health"),
        (SMALL + '[tools]\nx = "low"', "tools.x", "risk"),
        (SMALL + "[tools]\nx = {}", "tools.x.risk", '"critical"'),
        (SMALL + '[tools]\nx = { risk = "low", cost = 1 }', "tools.x.cost", "risk"),
        (SMALL + '[tools]\n"a b" = { risk = "low" }', "tools.a b", "1 to 64 letters"),
        ("tools = 3\n" + SMALL, "tools", "a table"),
        (SMALL + "[extra]", "extra", "agent, capabilities, tools"),
        ("not toml", "(file)", "TOML"),
        (b"\xff", "(file)", "UTF-8"),
        ("#" * 70000, "(file)", "65536 bytes"),
        ("a = " + "[" * 30000, "(file)", "TOML"),
        ("a = " + "1" * 5000, "(file)", "TOML"),
    ],
)
def test_every_rule_names_its_key_and_what_is_allowed(lines: bytes | str, key: str, words: str) -> None:
    found = errors(lines)
    assert key in found, found
    assert words in found[key]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("*", "exactly one label"),
        ("*.*.example.com", "exactly one label"),
        ("a*.example.com", "exactly one label"),
        ("*.com", "top-level"),
        ("com", "two labels"),
        ("*.co.uk", "anybody can register"),
        ("*.github.io", "anybody can register"),
        ("10.0.0.1", "not an address"),
        ("10.0.0.1:80", "not an address"),
        ("a.0x7f", "not an address"),
        ("[::1]:443", "not an address"),
        ("::1", "not an address"),
        ("example.com:0", "port"),
        ("example.com:65536", "port"),
        ("example.com:", "port"),
        ("example.com:080", "port"),
        ("example.com.", "labels"),
        ("ex_ample.com", "labels"),
        ("-a.com", "labels"),
        ("bücher.de", "xn--"),
        ("https://a.com", "port"),
        ("a.com/x", "labels"),
        (f"{'a' * 64}.com", "labels"),
        (".".join(["a" * 63] * 4) + ".com", "labels"),
        ("", "labels"),
    ],
)
def test_host_names(host: str, words: str) -> None:
    found = errors(SMALL + f'[capabilities.network]\nallow = ["{host}"]')
    assert words in found["capabilities.network.allow[0]"]


@pytest.mark.parametrize(
    "path",
    ["data/x", "/data", "/data/", "/data/x/", "/data//x", "/data/./x", "/data/../etc", "/data/..", "/etc", "//data/x",
     "/database/x", "/data/x\\n", "", "/data/" + "x" * 300],
)  # fmt: skip
def test_paths_outside_the_rules(path: str) -> None:
    found = errors(SMALL + f'[capabilities.filesystem]\nread = ["{path}"]')
    assert "below /data" in found["capabilities.filesystem.read[0]"]


def test_names_that_look_like_traversal_but_are_none() -> None:
    manifest = parse(SMALL + '[capabilities.filesystem]\nread = ["/data/..x", "/data/a..b/c"]')
    assert manifest.read == ("/data/..x", "/data/a..b/c")


@pytest.mark.parametrize(
    ("read", "write", "key"),
    [
        ('["/data/a"]', '["/data/a"]', "write[0]"),
        ('["/data/a"]', '["/data/a/b"]', "write[0]"),
        ('["/data/a/b"]', '["/data/a"]', "write[0]"),
        ('["/data/a", "/data/a/b"]', "[]", "read[1]"),
    ],
)
def test_grants_do_not_overlap(read: str, write: str, key: str) -> None:
    found = errors(SMALL + f"[capabilities.filesystem]\nread = {read}\nwrite = {write}")
    assert "below another grant" in found[f"capabilities.filesystem.{key}"]


def test_siblings_with_a_common_beginning_do_not_overlap() -> None:
    assert parse(SMALL + '[capabilities.filesystem]\nread = ["/data/a"]\nwrite = ["/data/ab"]').write == ("/data/ab",)


def test_all_errors_at_once() -> None:
    found = errors(
        '[agent]\nname = "X"\nrestart = "no"\nwhat = 1\n[capabilities]\nmax_memory_mb = 1\nshell = "yes"\n'
        '[capabilities.network]\nallow = ["*.com", "ok.example.com", "1.1.1.1"]\n[other]\n'
    )
    assert set(found) == {
        "agent.name",
        "agent.restart",
        "agent.what",
        "capabilities.max_memory_mb",
        "capabilities.shell",
        "capabilities.network.allow[0]",
        "capabilities.network.allow[2]",
        "other",
    }


def test_every_default_passes_its_own_check_or_is_computed() -> None:
    for key, field in FIELDS.items():
        if field.each and field.default:
            assert all(field.check(entry) == entry for entry in field.default), key
        elif isinstance(field.default, str | int):
            assert field.check(field.default) == field.default, key


# --- fuzzing -----------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.text(max_size=20),
    st.sampled_from(["/data/a", "x.example.com", "low"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(
    st.sampled_from([*FIELDS, "agent", "capabilities", "tools", "tools.x", "x.y"]), values, max_size=8
)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(toml(entry) for entry in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(entry)}" for key, entry in value.items()) + "}"
    return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'


def outcome(source: bytes | str) -> Manifest | None:
    try:
        manifest = parse(source)
    except ManifestError as error:
        assert error.problems
        assert str(error).isprintable() or "\n" in str(error)
        return None
    assert isinstance(manifest, Manifest)
    return manifest


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
@example(b"\x00")
@example("[agent]\nname='a'\n[agent]")
def test_any_bytes_give_a_manifest_or_a_manifest_error(source: bytes | str) -> None:
    outcome(source)


@given(documents)
def test_any_document_with_known_keys_gives_a_manifest_or_a_manifest_error(document: dict[str, Any]) -> None:
    outcome('agent.name = "a"\n' + "".join(f"{key} = {toml(value)}\n" for key, value in document.items()))


@given(st.text(max_size=60))
def test_a_granted_path_never_leads_out_of_data(path: str) -> None:
    manifest = outcome(SMALL + f"[capabilities.filesystem]\nwrite = [{toml(path)}]")
    if manifest is not None:
        [granted] = manifest.write
        assert granted.startswith("/data/")
        assert ".." not in granted.split("/")
