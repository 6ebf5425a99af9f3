"""`nullbox chaos`, also `python -m nullbox.chaos`: faults into a hosted system, for people to watch."""

from __future__ import annotations

import secrets

import click

from nullbox.chaos.schedule import Baseline, Campaign, Violation, random_steps
from nullbox.chaos.world import World


@click.command("chaos")
@click.option(
    "--seed", type=int, default=None, help="Which faults; the same seed, the same faults. Default: by chance."
)
@click.option("--count", default=25, show_default=True, help="How many faults.")
def chaos(seed: int | None, count: int) -> None:
    """Start a system in namespaces of its own, make its parts fail, and check that it heals.

    Needs root, and /dev/net/tun. VMs are stand-ins. Nothing outside the namespaces is touched.
    """
    if seed is None:
        seed = secrets.randbelow(1_000_000)
    click.echo(f"seed {seed}, {count} faults")
    try:
        with World() as world:
            campaign = Campaign(world)
            before = Baseline.take(world)
            for number, step in enumerate(random_steps(seed, count), 1):
                campaign.run(step)
                click.echo(f"{number:4} {step}:{campaign.report.history[-1].removeprefix('    ')}")
            writes = campaign.check_writes()
            campaign.check_clean(before)
    except Violation as violation:
        raise click.ClickException(f"{violation}\nreplay: nullbox chaos --seed {seed} --count {count}") from None
    click.echo(f"{campaign.report.summary()}; {writes} acknowledged writes are there; nothing is left behind")


if __name__ == "__main__":
    chaos()
