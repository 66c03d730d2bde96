"""What the Docker Engine answers, as far as it is used here, read from its JSON."""

import json
import logging
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from orchestrator.errors import Failed, Unreachable

T = TypeVar("T")

log = logging.getLogger(__name__)

EVENT_BYTES_MAX = 1 << 20  # of one line; an event has some hundred bytes, and its labels


class EngineRefused(Failed):
    """The engine answered, and the answer was no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def not_there(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        return self.status == 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What an inspection says, as far as it is used here."""

    id: str
    name: str
    labels: Mapping[str, str]
    running: bool
    exit_code: int | None
    out_of_memory: bool
    pid: int | None
    started_at: str  # changes when the engine starts it again
    gpus: frozenset[str]  # ids in its device requests
    ports: Mapping[int, int | None]  # inside → on the host; None: not published
    addresses: Mapping[str, str]  # network → address
    network: str = ""  # in which it was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What an inspection of one says, as far as it is used here."""

    internal: bool
    options: Mapping[str, str]
    gateway: str  # the address of its bridge


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """One event of the engine's stream about one container."""

    container: str
    name: str
    action: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class PullLine:
    """One line of the engine's about a pull; the bytes are of one layer."""

    layer: str
    status: str
    done_bytes: int
    total_bytes: int


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise EngineRefused for an answer that is not of the shape of the Engine's API."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EngineRefused(500, f"{what} that makes no sense: {error!r}") from error


def _event(event: Any) -> ContainerEvent:
    attributes = event["Actor"]["Attributes"]
    code = attributes.get("exitCode")
    return ContainerEvent(
        container=event["Actor"]["ID"],
        name=attributes.get("name", ""),
        action=event["Action"],
        exit_code=int(code) if code is not None else None,
    )


def events_in(chunks: Iterable[bytes]) -> Iterator[ContainerEvent]:
    """The events of a stream, one a line however it is cut; what makes no sense is left out."""
    begun = b""
    for chunk in chunks:
        *lines, begun = (begun + chunk).split(b"\n")
        if len(begun) > EVENT_BYTES_MAX:
            lines, begun = [*lines, begun], b""
        for line in lines:
            if not line.strip():
                continue
            try:
                yield _event(json.loads(line.strip(b"\x1e")))  # the mark of a JSON text sequence
            except (KeyError, TypeError, ValueError, AttributeError):
                log.warning("Docker sent an event that makes no sense: %.200r", line)


def pull_line(said: Mapping[str, Any]) -> PullLine:
    """Raise EngineRefused for an error in the middle of an answer that began well."""
    if "error" in said:
        raise EngineRefused(500, str(said["error"]))
    progress = said.get("progressDetail") or {}
    return PullLine(
        layer=str(said.get("id", "")),
        status=str(said.get("status", "")),
        done_bytes=int(progress.get("current") or 0),
        total_bytes=int(progress.get("total") or 0),
    )


def container_in(seen: Mapping[str, Any]) -> Container:
    state, host, network = seen["State"], seen["HostConfig"], seen["NetworkSettings"]
    running = bool(state["Running"])
    return Container(
        id=seen["Id"],
        name=seen["Name"].lstrip("/"),
        labels=seen["Config"].get("Labels") or {},
        running=running,
        exit_code=None if running else state.get("ExitCode"),
        out_of_memory=bool(state.get("OOMKilled")),
        pid=state.get("Pid") or None,
        started_at=state.get("StartedAt", ""),
        gpus=frozenset(
            gpu.removeprefix("nvidia.com/gpu=")
            for request in host.get("DeviceRequests") or ()
            for gpu in request.get("DeviceIDs") or ()
        ),
        ports=_ports(seen["Config"].get("ExposedPorts") or {}, network.get("Ports") or {}),
        addresses={
            name: joined["IPAddress"]
            for name, joined in (network.get("Networks") or {}).items()
            if joined.get("IPAddress")
        },
        network=host.get("NetworkMode") or "",
    )


def network_in(seen: Mapping[str, Any]) -> Network:
    pools = seen["IPAM"].get("Config") or [{}]
    return Network(
        internal=bool(seen["Internal"]),
        options=seen.get("Options") or {},
        gateway=pools[0].get("Gateway", "").partition("/")[0],
    )


def _ports(
    exposed: Mapping[str, Any], published: Mapping[str, list[Mapping[str, str]] | None]
) -> dict[int, int | None]:
    ports: dict[int, int | None] = {}
    for key in sorted({*exposed, *published}):
        number, _, protocol = key.partition("/")
        if protocol == "tcp":
            bindings = published.get(key)
            ports[int(number)] = int(bindings[0]["HostPort"]) if bindings else None
    return ports


def nanoseconds(instant: str) -> int:
    """An RFC 3339 instant of up to nine decimals, as the engine writes it."""
    seconds, _, fraction = instant.rstrip("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp()
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


async def answered(asked: Awaitable[T]) -> T:
    """For questions that a working Docker never refuses: a refusal is no answer."""
    try:
        return await asked
    except EngineRefused as refused:
        raise Unreachable(f"Docker refused to tell: {refused}") from refused
