"""docs/cli.md and docs/cli-host.md from the commands' own help; a test holds them together."""

from __future__ import annotations

from collections.abc import Iterator

import click

from nullbox.cli.nullbox import main as nullbox
from nullbox.cli.nullctl import cli

WIDTH = 100

HEAD = """# nullctl

Every verb with its help, as `nullctl VERB --help` prints it.

The daemon is found by `--socket`, else `--target`, else `$NULLD_SOCKET`, else `$NULLD_TARGET`, else the default
target of the configuration file, else `/run/nulld.sock`. The file is `~/.config/nullbox/nullctl.toml`
(`$XDG_CONFIG_HOME` moves it):

```toml
target = "lab"                    # the default

[targets.lab]
socket = "/home/me/nullbox/build/run/nulld.sock"
```

Results go to standard output, messages to standard error. Control characters in what agents wrote are shown, never sent
to the terminal. Verbs that cannot be taken back ask first, if there is a terminal to ask on; `--yes` answers.
"""

HOST_HEAD = """# nullbox

The command of the host: it runs NullBox on this machine. Every verb with its help, as `nullbox VERB --help` prints it.
What operates a running system is [nullctl](cli.md).
"""


def commands(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Each command's path and help, parents first."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, **command.context_settings)
    context.max_content_width = context.terminal_width = WIDTH
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, f"{path} {name}", context)


def text() -> str:
    """The file docs/cli.md."""
    return _document(HEAD, cli, "nullctl")


def host_text() -> str:
    """The file docs/cli-host.md."""
    return _document(HOST_HEAD, nullbox, "nullbox")


def _document(head: str, command: click.Command, name: str) -> str:
    sections = [head]
    for path, help_text in commands(command, name):
        sections.append(f"## {path}\n\n```text\n{help_text.rstrip()}\n```\n")
    return "\n".join(sections)
