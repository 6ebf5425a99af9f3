"""nullctl doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nullbox import __version__
from nullbox.cli.context import Session, output_option, pass_session, tell
from nullbox.protocols.errors import EXIT_FAILED, NullBoxError

MARKS = {"ok": "ok  ", "warning": "WARN", "failure": "FAIL"}


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), metavar="FILE", help="Write a support archive (.tar.gz).")
@output_option
@pass_session
def doctor(session: Session, bundle: Path | None) -> None:
    """Find out what is wrong, and what to do. Exits with 1 if anything fails.

    The archive of --bundle holds states, events and manifests; nothing that agents wrote, and no secrets.
    """
    answer = _examine(session)
    session.show(answer, page, lambda found: [each["check"] for each in found["findings"]])
    if bundle is not None:
        from nullbox.cli import bundle as bundles

        bundles.write(bundle, bundles.gather(session.nulld))
        tell(f"wrote {bundle}")
    if not answer["healthy"]:
        click.get_current_context().exit(EXIT_FAILED)


def _examine(session: Session) -> dict[str, Any]:
    """The system's own findings, after what can be seen from here."""
    seen = [_reached(session)]
    if seen[0]["state"] == "failure":
        return {"healthy": False, "findings": seen}
    answer = session.nulld.doctor()
    return {"healthy": answer["healthy"], "findings": [*seen, *answer["findings"]]}


def _reached(session: Session) -> dict[str, Any]:
    try:
        version = session.nulld.version()
    except NullBoxError as error:
        advice = "start the system, or name its socket with --socket or $NULLD_SOCKET"
        if "permission" in error.message:
            advice = "ask for a role in [gateway] of nulld.toml, or use the account that runs the system"
        return {"check": "daemon", "state": "failure", "found": error.message, "advice": advice}
    found = f"nulld {version['version']} answers"
    if version["version"] != __version__:
        advice = f"nullctl is {__version__}; use the one that came with the system"
        return {"check": "daemon", "state": "warning", "found": found, "advice": advice}
    return {"check": "daemon", "state": "ok", "found": found, "advice": ""}


def page(answer: dict[str, Any]) -> str:
    """Findings for people: what was found, and below it what to do."""
    from nullbox.cli.safe import safe

    widest = max(10, *(len(each["check"]) for each in answer["findings"]))
    lines = []
    for each in answer["findings"]:
        lines.append(safe(f"{MARKS.get(each['state'], each['state'])}  {each['check']:<{widest}}  {each['found']}"))
        if each["advice"]:
            lines.append(safe(f"{'':{widest + 8}}-> {each['advice']}"))
    return "\n".join(lines)
