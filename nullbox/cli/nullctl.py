"""nullctl: what an operator types. The group, and how it ends; the verbs are in `verbs_*`.

Imports stay few, so that `nullctl version` is done within 120 ms: verbs are loaded when they are called.
"""

from __future__ import annotations

import os
import sys

import click

from nullbox.cli.context import FORMATS, Session
from nullbox.cli.lazy import LazyGroup
from nullbox.protocols.errors import (
    EXIT_CODES,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    NullBoxError,
)

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

SYSTEM = "nullbox.cli.verbs_system:"
AGENT = "nullbox.cli.verbs_agent:"
CTX = "nullbox.cli.verbs_ctx:"

VERBS = {
    "status": (SYSTEM + "status", "Show health, services and agents."),
    "tree": (SYSTEM + "tree", "Show the supervision tree."),
    "agent": (AGENT + "agent", "Manage agents."),
    "events": (SYSTEM + "events", "Show what happened: exits, restarts, state changes."),
    "ctx": (CTX + "ctx", "Look into the agents' shared memory."),
    "egress": (SYSTEM + "egress", "Show what agents may reach."),
    "doctor": ("nullbox.cli.verb_doctor:doctor", "Find out what is wrong, and what to do."),
    "top": ("nullbox.cli.verb_top:top", "Watch the system live."),
    "power": (SYSTEM + "power", "Turn the machine off, or boot it again."),
    "completion": (SYSTEM + "completion", "Print a script that completes nullctl in a shell."),
    "version": (SYSTEM + "version", "Show versions of nullctl and of the system."),
}


@click.group(
    cls=LazyGroup,
    lazy=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 daemon not reachable, "
    "6 wrong state, 124 timed out.",
)
@click.option(
    "--socket",
    metavar="PATH",
    help="The daemon's socket.  [env var: NULLD_SOCKET; default: /run/nulld.sock]",
)
@click.option(
    "--target",
    metavar="NAME",
    help="A daemon that ~/.config/nullbox/nullctl.toml names.  [env var: NULLD_TARGET]",
)
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", help="How to print the result.")
@click.pass_context
def cli(ctx: click.Context, socket: str | None, target: str | None, output: str) -> None:
    """Operate a NullBox system: see its agents, start and stop them, read what they did.

    \b
    Examples:
      nullctl status
      nullctl agent logs pulse -f
      nullctl -o json ctx query pulse. | jq '.entries[-1].value'
    """
    ctx.obj = Session(socket, target, output)
    ctx.call_on_close(ctx.obj.close)


def run(args: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit code of the contract."""
    try:
        code = cli.main(args=args, prog_name="nullctl", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return EXIT_FAILED
    except NullBoxError as error:
        return report(error)
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Keep Python from complaining about the unwritten rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_OK


def report(error: NullBoxError) -> int:
    """Say what went wrong on standard error; the exit code for it."""
    from nullbox.cli.safe import safe
    from nullbox.rpc.client import Unreachable

    for line in error.message.splitlines() or [error.code.value]:
        click.echo(f"nullctl: {safe(line)}", err=True)
    return EXIT_UNREACHABLE if isinstance(error, Unreachable) else EXIT_CODES[error.code]


def main() -> None:
    """Entry point of the command."""
    sys.exit(run())
