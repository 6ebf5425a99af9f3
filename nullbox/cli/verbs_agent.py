"""nullctl's verbs about agents."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nullbox.cli import durations, render
from nullbox.cli.completing import agent_names
from nullbox.cli.context import Session, confirm, output_option, pass_session, tell
from nullbox.cli.lazy import LazyGroup
from nullbox.protocols.errors import NullBoxError

STATES = ("stopped", "starting", "running", "paused", "stopping", "backoff", "failed")


class Duration(click.ParamType[float]):
    """A length of time, in seconds for the command."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return durations.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(cls=LazyGroup)
def agent() -> None:
    """Manage agents."""


@agent.command(name="list")
@output_option
@pass_session
def list_agents(session: Session) -> None:
    """List all agents."""
    from nullbox.cli import tables

    session.show(
        session.nulld.agent_list(),
        lambda rows: tables.people("NAME", rows),
        lambda rows: [row["name"] for row in rows],
    )


@agent.command()
@click.argument("name", shell_complete=agent_names)
@output_option
@pass_session
def inspect(session: Session, name: str) -> None:
    """Show all about an agent and its VM."""
    session.show(session.nulld.agent_inspect(name), render.outline, lambda answer: [answer["name"]])


def _change(verb: str, help_text: str, does: Callable[[Session, str], dict[str, Any]]) -> None:
    """One command that changes the state of the agents it names, one after the other."""

    @agent.command(name=verb, help=help_text)
    @click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=agent_names)
    @output_option
    @pass_session
    def command(session: Session, names: tuple[str, ...]) -> None:
        from nullbox.cli.nullctl import report

        code = 0
        for name in names:
            try:
                answer = does(session, name)
            except NullBoxError as error:
                if len(names) == 1:
                    raise
                reported = report(error)
                code = code or reported
                continue
            session.done(answer, f"{answer['name']}: {answer['state']}")
        click.get_current_context().exit(code)


_change("start", "Start an agent that does not run.", lambda session, name: session.nulld.agent_start(name))
_change(
    "stop",
    "Stop an agent: SIGTERM, and after five seconds its VM is killed.",
    lambda session, name: session.nulld.agent_stop(name),
)
_change("restart", "Start an agent anew, in a new VM.", lambda session, name: session.nulld.agent_restart(name))
_change("pause", "Freeze an agent's VM; its memory stays.", lambda session, name: session.nulld.agent_pause(name))
_change("resume", "Let a paused agent go on.", lambda session, name: session.nulld.agent_resume(name))


@agent.command()
@click.argument("name", required=False, shell_complete=agent_names)
@output_option
@pass_session
def stats(session: Session, name: str | None) -> None:
    """Show what an agent's VM uses: CPU time, memory, processes. Without NAME: what all of them use."""
    from nullbox.cli import tables

    if name is not None:
        session.show(session.nulld.agent_stats(name), tables.usage, lambda answer: [answer["name"]])
        return
    answers = [session.nulld.agent_stats(each["name"]) for each in session.nulld.agent_list()]
    session.show(answers, tables.usages, lambda answers: [answer["name"] for answer in answers])


@agent.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace an agent of that name; it is stopped.")
@output_option
@pass_session
def deploy(session: Session, folder: Path, replace: bool) -> None:
    """Send FOLDER, with its AGENT.toml, and start the agent.

    \b
    Examples:
      nullctl agent deploy ./researcher
      nullctl agent deploy ./researcher --replace && nullctl agent wait researcher
    """
    _manifest(folder / "AGENT.toml")
    answer = session.nulld.agent_deploy(folder, replace=replace, progress=_progress())
    session.done(answer, f"{answer['name']} {answer['version']}: {answer['state']}")


def _progress() -> Callable[[int, int], None] | None:
    """Shows how much is sent, on a terminal only."""
    if not sys.stderr.isatty():
        return None

    def show(sent: int, total: int) -> None:
        end = "\n" if sent >= total else ""
        click.echo(f"\rsent {sent // 1024} of {total // 1024} KiB{end}", err=True, nl=False)

    return show


def _manifest(path: Path) -> Any:
    """Read a manifest here, so that its errors show before anything is sent. Raises NullBoxError."""
    from nullbox.cage.manifest import MAX_BYTES, parse
    from nullbox.protocols.errors import ErrorCode

    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise NullBoxError(ErrorCode.NOT_FOUND, f"no file {path}") from None
    except OSError as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot read {path}: {error.strerror}") from None


@agent.command()
@click.argument("file", type=click.Path(path_type=Path))
@output_option
@pass_session
def validate(session: Session, file: Path) -> None:
    """Check an AGENT.toml, or the one in a folder, without a daemon. Shows all that is wrong at once."""
    path = file / "AGENT.toml" if file.is_dir() else file
    manifest = _manifest(path)
    answer = {"name": manifest.name, "version": manifest.version, "valid": True}
    session.done(answer, f"{path}: {manifest.name} {manifest.version} is valid")


@agent.command()
@click.argument("name", shell_complete=agent_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def remove(session: Session, name: str, yes: bool) -> None:
    """Stop a deployed agent and delete it. What it wrote to the shared memory stays."""
    confirm(f"Stop agent {name} and delete it?", yes)
    answer = session.nulld.agent_remove(name)
    session.done(answer, f"{answer['name']}: {answer['state']}")
    if answer.get("bundled"):
        tell(f"{answer['name']} of the image is back in its place")


@agent.command()
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--for", "state", type=click.Choice(STATES), default="running", show_default=True, help="The state to wait for."
)
@click.option("--timeout", type=Duration(), default="30s", show_default=True, help="Give up after this long.")
@output_option
@pass_session
def wait(session: Session, name: str, state: str, timeout: float) -> None:
    """Wait until an agent is in a state. Exits with 124 if it takes too long."""
    answer = session.nulld.agent_wait(name, state, timeout)
    session.done(answer, f"{answer['name']}: {answer['state']}")


@agent.command()
@click.argument("name", shell_complete=agent_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes next.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only what it wrote in the last while: 90s, 5m, 2h.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time (UTC).")
@output_option
@pass_session
def logs(session: Session, name: str, follow: bool, since: float | None, tail: int | None, timestamps: bool) -> None:
    """Show what an agent wrote to its console. JSON Lines with -o json.

    Control characters are shown, never sent to the terminal.

    \b
    Examples:
      nullctl agent logs pulse --tail 20
      nullctl agent logs pulse -f --since 5m
    """
    from nullbox.cli import tables

    def line(row: dict[str, Any]) -> str:
        text = "\t".join(render.safe(part) for part in row["text"].split("\t"))
        return f"{tables.clock(row['ts'])}  {text}" if timestamps and row.get("ts") is not None else text

    start = None if since is None else time.time() - since
    session.show_each(session.nulld.agent_logs(name, tail, start, follow), line)
