"""nullctl's verbs about the system as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from nullbox import __version__
from nullbox.cli.completing import agent_names
from nullbox.cli.context import Session, confirm, output_option, pass_session, tell
from nullbox.cli.lazy import LazyGroup
from nullbox.protocols.errors import NullBoxError


@click.command()
@output_option
@pass_session
def status(session: Session) -> None:
    """Show health, services and agents."""
    from nullbox.cli import tables

    session.show(
        session.nulld.status(),
        tables.status,
        lambda answer: [each["name"] for each in answer["services"] + answer["agents"]],
    )


@click.command()
@output_option
@pass_session
def tree(session: Session) -> None:
    """Show the supervision tree: state, pid, restarts, uptime, last exit."""
    from nullbox.cli import tables

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    session.show(
        session.nulld.tree(),
        lambda nodes: tables.tree(nodes, ascii_only=ascii_only),
        lambda nodes: [node["id"] for node in nodes],
    )


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens next.")
@click.option("--since", type=click.IntRange(0), default=0, metavar="SEQ", help="Only events after this number.")
@output_option
@pass_session
def events(session: Session, follow: bool, since: int) -> None:
    """Show what happened: exits, restarts, state changes. JSON Lines with -o json.

    \b
    Examples:
      nullctl events -f
      nullctl -o json events --since 120 | jq 'select(.kind == "exit")'
    """
    from nullbox.cli import tables

    source = session.nulld.events_follow(since) if follow else _pages(session, since)
    session.show_each(source, tables.event, lambda event: str(event["seq"]))


def _pages(session: Session, since: int) -> Iterator[dict[str, Any]]:
    while True:
        page = session.nulld.events(since)
        if page.get("lost"):
            tell(f"{page['lost']} older events are no longer kept")
        if not page["events"]:
            return
        yield from page["events"]
        since = page["events"][-1]["seq"]


@click.command()
@output_option
@pass_session
def version(session: Session) -> None:
    """Show versions of nullctl and of the system. Works without a daemon."""
    from nullbox.cli.safe import safe

    server: dict[str, Any] | None = None
    try:
        server = session.nulld.call("version", timeout=5.0)
    except NullBoxError as error:
        tell(f"no daemon: {safe(error.message)}")
    answer = {"client": {"version": __version__}, "server": server}
    session.show(answer, _versions)


def _versions(answer: dict[str, Any]) -> str:
    from nullbox.cli.safe import safe

    lines = [f"nullctl  {answer['client']['version']}"]
    server = answer["server"]
    if server is not None:
        protocol, kernel = server["protocol"], server["kernel"]
        lines.append(safe(f"nulld    {server['version']} (protocol {protocol}, kernel {kernel})"))
    return "\n".join(lines)


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print a script that completes verbs, options and the names of running agents.

    \b
    Examples:
      source <(nullctl completion bash)
      nullctl completion zsh > "${fpath[1]}/_nullctl"
      nullctl completion fish > ~/.config/fish/completions/nullctl.fish
    """
    from click.shell_completion import get_completion_class

    from nullbox.cli.nullctl import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "nullctl", "_NULLCTL_COMPLETE").source())


@click.group(cls=LazyGroup)
def egress() -> None:
    """Show what agents may reach."""


@egress.command()
@click.argument("agent", required=False, shell_complete=agent_names)
@output_option
@pass_session
def rules(session: Session, agent: str | None) -> None:
    """Show what the firewall allows, for AGENT or for all."""
    from nullbox.cli.render import outline

    session.show(session.nulld.egress_rules(agent), outline)


@egress.command()
@click.argument("agent", shell_complete=agent_names)
@click.argument("target", metavar="HOST[:PORT]")
@output_option
@pass_session
def explain(session: Session, agent: str, target: str) -> None:
    """Say whether AGENT may reach HOST, and which line of its manifest decides it.

    \b
    Examples:
      nullctl egress explain researcher api.openai.com
      nullctl egress explain researcher example.com:8443
    """
    from nullbox.cli.render import outline

    session.show(session.nulld.egress_explain(agent, target), outline)


@egress.command(name="log")
@click.argument("agent", required=False, shell_complete=agent_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is denied next.")
@click.option("--since", type=click.IntRange(0), default=0, metavar="SEQ", help="Only denials after this number.")
@output_option
@pass_session
def egress_log(session: Session, agent: str | None, follow: bool, since: int) -> None:
    """Show what agents were denied, AGENT or all. JSON Lines with -o json."""
    from nullbox.cli import tables

    nulld = session.nulld
    source = nulld.egress_log_follow(agent, since) if follow else nulld.egress_log(agent, since)
    session.show_each(source, tables.denial, lambda denial: str(denial["seq"]))


@egress.command(name="flush-dns")
@click.argument("agent", shell_complete=agent_names)
@output_option
@pass_session
def flush_dns(session: Session, agent: str) -> None:
    """Forget the addresses that AGENT's names stood for; open connections go on."""
    answer = session.nulld.egress_flush_dns(agent)
    session.done({**answer, "name": agent}, f"{agent}: {answer['flushed']} answers forgotten")


@egress.command()
@click.argument("agent", shell_complete=agent_names)
@click.option("--off", is_flag=True, help="Back to what the manifest grants.")
@output_option
@pass_session
def learn(session: Session, agent: str, off: bool) -> None:
    """Let AGENT reach every public address, and print the `allow` list that it would need.

    Refused unless nulld.toml says `egress.learn = true`. Say it again to see what came since; the mode ends with
    --off, and with the agent's next start.

    \b
    Examples:
      nullctl egress learn researcher
      nullctl egress learn researcher --off
    """
    from nullbox.cli import tables

    session.show(session.nulld.egress_learn(agent, on=not off), tables.learned)


@click.group(cls=LazyGroup)
def power() -> None:
    """Turn the machine off, or boot it again."""


@power.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def off(session: Session, yes: bool) -> None:
    """Stop all agents and services in order, then turn the machine off."""
    confirm("Stop all agents and turn the machine off?", yes)
    session.nulld.power_off()
    session.done({"power": "off"}, "turning off")


@power.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def reboot(session: Session, yes: bool) -> None:
    """Stop all agents and services in order, then boot again."""
    confirm("Stop all agents and boot again?", yes)
    session.nulld.power_reboot()
    session.done({"power": "reboot"}, "rebooting")


@power.command()
@click.option("--state", is_flag=True, required=True, help="Empty the STATE partition: the only thing to reset.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def reset(session: Session, state: bool, yes: bool) -> None:
    """Stop everything in order, empty the STATE partition, then boot again.

    ctxgraph, deployed agents, events and the machine's id are gone for good. The image, and the agents in it, stay.
    """
    if not state:
        raise click.UsageError("say what is to be reset: --state")
    question = "Delete ctxgraph, deployed agents, events and all else that this machine keeps, and boot again?"
    confirm(question, yes, in_scripts=True)
    answer = session.nulld.power_reset()
    session.done(answer, f"emptying {answer['device']} and rebooting")
