"""docs/cli.md, docs/cli-host.md, docs/openrpc.json and the tables of docs/protocol.md are what the code says.

`NULLBOX_UPDATE_DOCS=1` writes them anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from gateway_system import running

from nullbox.cli import reference
from nullbox.gateway import openrpc
from nullbox.gateway.service import LIMITS, PORT_LIMITS

DOCS = Path(__file__).parents[2] / "docs"


def with_tables(text: str) -> str:
    for name, table in (("errors", openrpc.error_table()), ("methods", openrpc.method_table())):
        text = re.sub(
            rf"(<!-- {name} -->\n)(?:.*?)(<!-- end -->)",
            lambda match, table=table: match[1] + table + "\n" + match[2],
            text,
            flags=re.DOTALL,
        )
    return text


GENERATED = {
    "cli.md": lambda old: reference.text(),
    "cli-host.md": lambda old: reference.host_text(),
    "openrpc.json": lambda old: openrpc.text(),
    "protocol.md": with_tables,
}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_documents_are_current(name: str) -> None:
    path = DOCS / name
    old = path.read_text() if path.exists() else ""
    new = GENERATED[name](old)
    if os.environ.get("NULLBOX_UPDATE_DOCS"):
        path.write_text(new)
        old = new
    assert old == new, f"docs/{name} is out of date: NULLBOX_UPDATE_DOCS=1 pytest {__file__}"


def test_the_limits_in_the_protocol_are_the_limits() -> None:
    text = (DOCS / "protocol.md").read_text()
    for found in (
        f"{LIMITS.in_flight} (on the port {PORT_LIMITS.in_flight})",
        f"{LIMITS.subscriptions} (on the port {PORT_LIMITS.subscriptions})",
        f"{LIMITS.rate:,.0f}, with bursts of {LIMITS.burst:,.0f}",
        f"{LIMITS.fault_rate:.0f} a second, with bursts of {LIMITS.fault_burst:.0f}",
        f"{LIMITS.connections} in all, {LIMITS.connections_per_uid} for one uid",
        f"{LIMITS.idle:.0f} s",
        f"{LIMITS.stall:.0f} s",
    ):
        assert found in text, found


def test_the_example_of_the_protocol_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "protocol.md").read_text(), flags=re.DOTALL)
    with running() as system:
        exec(compile(example.replace("/run/nulld.sock", system.socket), "protocol.md", "exec"), {})
    assert json.loads(capsys.readouterr().out)["result"]["protocol"] == 1
