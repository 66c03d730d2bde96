"""How a container is found again after a restart, and where it answers."""

from dataclasses import dataclass

from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import Unreachable
from orchestrator.ports import Handle
from orchestrator.runtimes.docker.answers import Container
from orchestrator.runtimes.docker.create import (
    CONTAINER_PORT,
    ContainerSettings,
    closed_network,
)

RUNTIME = "docker"
HANDLE_VERSION = 1
PORT_DEFAULT = 80  # of a program that says nothing of its port
ENDED = "0.0.0.0"  # noqa: S104 - the address of a container that has none any more


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRef:
    """A handle as this runtime writes it, parsed."""

    container: str  # ours: the id; named: the name, which survives being created anew
    name: str
    ours: bool
    id: str = ""  # named: which one of that name it is, and whatever it is called later

    @property
    def reference(self) -> str:
        """What this very container is found by."""
        return self.id or self.container

    @staticmethod
    def of(handle: Handle) -> "ContainerRef":
        """Raise Unreachable for a handle that this version does not understand."""
        if (handle.runtime, handle.version) != (RUNTIME, HANDLE_VERSION):
            raise Unreachable(
                f"A handle of {handle.runtime} version {handle.version} is not one of "
                f"{RUNTIME} version {HANDLE_VERSION}: a newer orchestrator wrote it."
            )
        fields = handle.fields
        return ContainerRef(
            container=str(fields["container"]),
            name=str(fields["name"]),
            ours=bool(fields["ours"]),
            # Not in handles that were written before it was kept: they go by the name.
            id=str(fields.get("id", "")),
        )

    def handle(self) -> Handle:
        fields: dict[str, str | int | float] = {
            "container": self.container,
            "name": self.name,
            "ours": int(self.ours),
        }
        if self.id:
            fields["id"] = self.id
        return Handle(runtime=RUNTIME, version=HANDLE_VERSION, fields=fields)


def own_endpoint(seen: Container, settings: ContainerSettings) -> Endpoint:
    """Where a container that we made answers: to us, and to clients elsewhere. By where it is, not
    by where others are put now: it may have been made under other settings.
    """
    # A server that ended at once has no port any more, and port 0 never answers: what ended it is
    # told by `wait`, with its log.
    port = seen.ports.get(CONTAINER_PORT) or 0
    match seen.network:
        case "" | "default" | "bridge":
            url = f"http://127.0.0.1:{port}"
        case name if name == closed_network(settings.identity):
            url = f"http://{seen.addresses.get(name, ENDED)}:{CONTAINER_PORT}"
        case _:
            url = f"http://{seen.name}:{CONTAINER_PORT}"
    direct = None if settings.direct is None or not port else f"http://{settings.direct}:{port}"
    return Endpoint(url, direct=direct)


def named_endpoint(seen: Container, network: str | None, configured: str | None) -> Endpoint:
    """Where a container defined elsewhere answers, as far as it can be told from here."""
    if configured is not None:
        return Endpoint(configured)
    inside, published = next(iter(seen.ports.items()), (PORT_DEFAULT, None))
    if network in seen.addresses:
        return Endpoint(f"http://{seen.name}:{inside}")
    if published is not None:
        return Endpoint(f"http://127.0.0.1:{published}")
    address = next(iter(seen.addresses.values()), seen.name)
    return Endpoint(f"http://{address}:{inside}")
