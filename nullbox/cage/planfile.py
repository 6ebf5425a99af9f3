"""A plan as JSON: what the cage actor writes and the runner reads. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from nullbox.cage.resources import Limits
from nullbox.cage.vmplan import Bind, JailSpec, Link, ProcessSpec, Share, VmPlan

VERSION = 2


def dumps(plan: VmPlan) -> str:
    """The plan as readable JSON with a fixed order of keys."""
    data = {"version": VERSION, **asdict(plan)}
    if plan.process is None:
        del data["process"]
    return json.dumps(data, indent=1, sort_keys=True)


def loads(text: str) -> VmPlan:
    """Read a plan back; the inverse of `dumps`.

    Raises:
        ValueError: not JSON, another version, or not the shape of a plan.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"not a plan of version {VERSION}")
    try:
        return VmPlan(
            agent=str(data["agent"]),
            calls=tuple((str(name), _frozen(arguments)) for name, arguments in data["calls"]),
            shares=tuple(Share(**share) for share in data["shares"]),
            link=None if data["link"] is None else Link(**data["link"]),
            limits=Limits(**data["limits"]),
            cgroup=str(data["cgroup"]),
            console=str(data["console"]),
            failure=str(data["failure"]),
            library=data["library"],
            jail=jail_from_plain(data["jail"]),
            process=_process(data.get("process")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the shape of a plan: {error!r}") from error


def _process(data: Any) -> ProcessSpec | None:
    return None if data is None else ProcessSpec(**{key: _frozen(value) for key, value in data.items()})


def jail_from_plain(data: dict[str, Any]) -> JailSpec:
    """A jail from what `asdict` made of it. Raises KeyError, TypeError, AttributeError: not its shape."""
    known = {key: _frozen(value) for key, value in data.items()}
    return JailSpec(**{**known, "binds": tuple(Bind(**bind) for bind in known["binds"])})


def _frozen(value: Any) -> Any:
    """Lists as tuples: plans are compared, and JSON has no tuples."""
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value
