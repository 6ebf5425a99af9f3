"""The examples of docs/client.md run, against a real gateway, and leave no method out."""

from __future__ import annotations

import re
from pathlib import Path

from gateway_system import running

from nullbox.client import Nulld

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_examples_run_and_name_every_method(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('hello')\n")
    (tmp_path / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert blocks
    with running() as system:
        system.backend.denials.append(
            {"agent": "pulse", "kind": "unlisted name", "name": "a.example", "count": 1, "last": 1.0, "seq": 1}
        )
        names: dict[str, object] = {"folder": tmp_path}
        for block in blocks:
            exec(compile(block.replace("/run/nulld.sock", system.socket), str(PAGE), "exec"), names)
    methods = {name for name, value in vars(Nulld).items() if callable(value) and not name.startswith("_")}
    assert methods <= set(re.findall(r"nulld\.(\w+)\(", "\n".join(blocks)))
