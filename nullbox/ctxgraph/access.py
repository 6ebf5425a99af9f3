"""Who may read and write which keys: the key prefixes of the manifest. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.ctxgraph.entry import check_agent_id, check_prefix
from nullbox.protocols.errors import ErrorCode, NullBoxError

HOST_AGENT = "@operator"
"""Author of what comes through the host's socket. No agent has this name: theirs begin with a letter."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The identity of a channel and its key prefixes. `("",)` is everything, `()` nothing.

    erase: may destroy payloads of others, and see tools that cover the whole log (verify, proofs, export).
    """

    agent_id: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    whole_log: bool = False

    def may_read(self, key: str) -> bool:
        return key.startswith(self.read)

    def check_read(self, key: str) -> None:
        """Raises NullBoxError `denied` when the key lies outside the read prefixes."""
        if not key.startswith(self.read):
            raise _denied(self.agent_id, "read", key, self.read)

    def check_write(self, key: str) -> None:
        """Raises NullBoxError `denied` when the key lies outside the write prefixes."""
        if not key.startswith(self.write):
            raise _denied(self.agent_id, "write", key, self.write)

    def readable(self, prefix: str) -> tuple[str, ...]:
        """The prefixes to scan so that a query for `prefix` sees all it may see and nothing else.

        None of them is a prefix of another, so no key is seen twice.

        Raises:
            NullBoxError: `denied`: the query and the rights have no key in common. (An empty answer would look
                like an empty store.)
        """
        if prefix.startswith(self.read):
            return (prefix,)
        inside = tuple(granted for granted in self.read if granted.startswith(prefix))
        if not inside:
            raise _denied(self.agent_id, "read", prefix, self.read)
        return inside

    def check_whole_log(self, what: str) -> None:
        """Raises NullBoxError `denied` unless this channel is the host's."""
        if not self.whole_log:
            message = f"{what} covers the whole log, which agent {self.agent_id!r} may not see; ask the operator"
            raise NullBoxError(ErrorCode.DENIED, message)


def rights(agent_id: str, read: list[str] | tuple[str, ...], write: list[str] | tuple[str, ...]) -> Rights:
    """Rights of an agent, from prefixes as they stand in a manifest. Raises NullBoxError `invalid`."""
    return Rights(check_agent_id(agent_id), minimal(read), minimal(write))


def host_rights() -> Rights:
    """What the host's socket may do: everything, under a name of its own."""
    return Rights(HOST_AGENT, ("",), ("",), whole_log=True)


def minimal(prefixes: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The same set of keys with no prefix that another one covers, sorted."""
    kept: list[str] = []
    for prefix in sorted(check_prefix(each) for each in prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _denied(agent_id: str, verb: str, key: str, granted: tuple[str, ...]) -> NullBoxError:
    have = ", ".join(repr(prefix) for prefix in granted) or "nothing"
    message = f"agent {agent_id!r} may not {verb} {key[:80]!r}; its manifest grants {have}"
    return NullBoxError(ErrorCode.DENIED, message)
