"""`nullbox chaos`, also `python -m nullbox.chaos`: faults into a hosted system, for people to watch."""

from __future__ import annotations

import secrets

import click

from nullbox.chaos.campaign import Campaign
from nullbox.chaos.invariants import Violation
from nullbox.chaos.steps import schedules
from nullbox.chaos.world import World


@click.command("chaos")
@click.option(
    "--seed", type=int, default=None, help="Which schedules of faults; the same seed, the same faults. Default: any."
)
@click.option("--count", type=click.IntRange(1), default=25, show_default=True, help="How many schedules.")
def chaos(seed: int | None, count: int) -> None:
    """Start a system in namespaces of its own, let its parts fail, and check that it heals.

    Needs root, and /dev/net/tun. VMs are stand-ins. Nothing outside the namespaces is touched.
    """
    if seed is None:
        seed = secrets.randbelow(1_000_000)
    click.echo(f"seed {seed}, {count} schedules")
    try:
        with World() as world:
            campaign = Campaign(world)
            for schedule in schedules(seed, count):
                campaign.run(schedule)
                click.echo(f"{schedule}:{campaign.history[-1].removeprefix('    ')}")
            report = campaign.finish()
    except (AssertionError, OSError) as problem:
        text = (
            f"{problem}\nreplay: nullbox chaos --seed {seed} --count {count}"
            if isinstance(problem, Violation)
            else f"the system could not be started or did not answer: {problem}"
        )
        raise click.ClickException(text) from None
    click.echo(f"{report.summary()}; nothing is left behind")


if __name__ == "__main__":
    chaos()
