"""Where a container answers: to us, and to those who are told of it."""

from orchestrator.core.values.residents import Endpoint
from orchestrator.runtimes.docker.create import CONTAINER_PORT, ContainerSettings
from orchestrator.runtimes.docker.engine import Container

PORT_DEFAULT = 80  # of a program that says nothing of its port


def own_endpoint(seen: Container, settings: ContainerSettings) -> Endpoint:
    """Of a container that we made."""
    # A server that ended at once has no port any more, and port 0 never answers: what ended it is
    # told by `wait`, with its log.
    port = seen.ports.get(CONTAINER_PORT) or 0
    alone = settings.network is None
    return Endpoint(
        f"http://127.0.0.1:{port}" if alone else f"http://{seen.name}:{CONTAINER_PORT}",
        direct=None if settings.direct is None else f"http://{settings.direct}:{port}",
    )


def named_endpoint(seen: Container, network: str | None, configured: str | None) -> Endpoint:
    """Of one that somebody else defined, as far as it can be told from here."""
    if configured is not None:
        return Endpoint(configured)
    inside, published = next(iter(seen.ports.items()), (PORT_DEFAULT, None))
    if network in seen.addresses:
        return Endpoint(f"http://{seen.name}:{inside}")
    if published is not None:
        return Endpoint(f"http://127.0.0.1:{published}")
    address = next(iter(seen.addresses.values()), seen.name)
    return Endpoint(f"http://{address}:{inside}")
