"""`nullbox doctor`: what is wrong with this host, and what to do (edge: prints)."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nullbox import __version__
from nullbox.cli import bundle as bundles
from nullbox.cli import render
from nullbox.cli.places import build_option, file_option
from nullbox.cli.verb_doctor import page
from nullbox.gateway.doctor import healthy
from nullbox.host import doctor, doctor_facts
from nullbox.host.run import RunFolder
from nullbox.protocols.errors import EXIT_FAILED, NullBoxError

TAIL = 200
"""Lines of each log in the archive."""


@click.command("doctor")
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", help="How to print the result.")
@file_option("--bundle", "Write a support archive (.tar.gz).")
@build_option
def doctor_command(output: str, bundle: Path | None, build: Path | None) -> None:
    """Find out what this host lacks, and what to do. Exits with 1 if anything fails.

    The archive of --bundle holds the findings, versions and the ends of the machine's logs: no agents' data, and no
    secrets.
    """
    build = build or Path(__file__).resolve().parents[2] / "build"
    facts = doctor_facts.gather(build)
    findings = doctor.examine(facts)
    answer = {"healthy": healthy(findings), "findings": [finding.plain() for finding in findings]}
    click.echo(render.to_json(answer) if output == "json" else page(answer))
    if bundle is not None:
        try:
            bundles.write(bundle, contents(answer, asdict(facts), RunFolder(build / "run")))
        except NullBoxError as error:
            click.echo(f"nullbox: {error.message}", err=True)
            sys.exit(EXIT_FAILED)
        click.echo(f"wrote {bundle}", err=True)
    if not answer["healthy"]:
        sys.exit(EXIT_FAILED)


def contents(answer: dict[str, Any], facts: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """File name → content of the archive, without secrets."""
    versions = {"nullbox": __version__, "python": platform.python_version(), "kernel": platform.release()}
    files: dict[str, Any] = {"host-doctor": answer, "facts": facts, "versions": versions}
    for path in (folder.console, folder.log):
        if path.is_file():
            files[path.stem] = path.read_text(errors="replace").splitlines()[-TAIL:]
    return {name: bundles.redact(value) for name, value in files.items()}
