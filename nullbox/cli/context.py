"""What every nullctl command has: the connection, the output format, and how results are printed. Effects: prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from nullbox.client import Nulld


FORMATS = ("table", "json", "yaml", "name")

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """Options of one run. The connection is made when a command asks for it."""

    def __init__(self, socket: str | None, target: str | None, output: str) -> None:
        self._socket = socket
        self._target = target
        self.output = output

    @property
    def socket(self) -> str:
        """The daemon's socket. Raises NullBoxError if the target is not known."""
        from nullbox.cli import targets

        return targets.resolve(self._socket, self._target)

    @cached_property
    def nulld(self) -> Nulld:
        from nullbox.client import Nulld

        return Nulld(self.socket)

    def close(self) -> None:
        if "nulld" in self.__dict__:
            self.nulld.close()

    def show(
        self, value: Any, table: Callable[[Any], str], names: Callable[[Any], Iterable[str]] | None = None
    ) -> None:
        """Print a result in the format that was asked for.

        table: makes the text for people. names: the names of what is shown, for `-o name`; None if it has none.
        """
        if self.output == "table":
            click.echo(table(value))
            return
        from nullbox.cli import render

        if self.output == "json":
            click.echo(render.to_json(value))
        elif self.output == "yaml":
            click.echo(render.to_yaml(value))
        else:
            if names is None:
                raise click.UsageError("this result has no names; use -o table, json or yaml")
            for name in names(value):
                click.echo(render.safe(name))

    def show_each(
        self, values: Iterable[Any], line: Callable[[Any], str], name: Callable[[Any], str] | None = None
    ) -> None:
        """Print results one by one, as they come: JSON Lines with `-o json`, documents with `-o yaml`."""
        from nullbox.cli import render

        for value in values:
            if self.output == "json":
                text = render.to_json(value, line=True)
            elif self.output == "yaml":
                text = "---\n" + render.to_yaml(value)
            elif self.output == "name":
                if name is None:
                    raise click.UsageError("these results have no names; use -o table, json or yaml")
                text = render.safe(name(value))
            else:
                text = line(value)
            click.echo(text)
            sys.stdout.flush()

    def done(self, value: Any, text: str) -> None:
        """The result of a change: nothing more than a line for people."""
        from nullbox.cli.safe import safe

        self.show(value, lambda _: safe(text), lambda answer: [str(answer.get("name", ""))])


pass_session = click.make_pass_decorator(Session)


def tell(message: str) -> None:
    """A message beside the result: to standard error."""
    click.echo(message, err=True)


def _set_output(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).output = value


def output_option(function: F) -> F:
    """`-o` after the verb, where most people type it; the one before the verb means the same."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default=None,
        expose_value=False,
        callback=_set_output,
        help="How to print the result.",
    )
    return option(function)


def confirm(question: str, yes: bool, *, in_scripts: bool = False) -> None:
    """Ask before something that cannot be taken back. Without a terminal nobody is asked: scripts mean it; with
    `in_scripts` even they have to say `--yes`."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        if in_scripts:
            raise click.UsageError("nobody is here to be asked; --yes says that it is meant")
        return
    click.confirm(question, abort=True, err=True)
