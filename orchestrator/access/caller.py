"""Who asks: the one value that decisions, limits and the audit log share."""

from dataclasses import dataclass
from enum import StrEnum


class Via(StrEnum):
    """The way in."""

    HTTP = "http"  # a connection of the caller's own
    EDGE = "edge"  # through our own nginx
    COMMAND = "command"  # `orchestrator … --config`, on the state directory itself
    DAEMON = "daemon"  # its own timers, rules and signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Nothing in it is secret: it may stand in any log. Who it is decides nothing by itself.

    Without `key` the caller proved nothing: no keys are configured, the route is public, or the
    operator acts on the machine itself.
    """

    key: str | None = None  # the public id of the API key, also where a session stands for it
    session: str | None = None  # the public mark of the browser's session, not its secret
    address: str | None = None  # as the daemon saw it, IPv4 unmapped; None: over a UNIX socket
    via: Via

    @property
    def identity(self) -> str:
        """To whom a limit applies: the key, else the address, else the way in."""
        return self.key or self.address or self.via


THE_DAEMON = Caller(via=Via.DAEMON)
