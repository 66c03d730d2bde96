"""What closes a server in a container: a key that it alone is given, and a network without a way
to anything else.

The key comes into the container as a file, between its create and its start: it stands in no
argument, variable or label. It lies in a volume of the container's own, which goes with it, because
the rest of a container is read-only and /tmp is not there before the start.
"""

import asyncio
import socket
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import StartFailed
from orchestrator.ports import Launch
from orchestrator.runtimes.docker.answers import Container, EngineRefused
from orchestrator.runtimes.docker.create import (
    KEY_DIR,
    KEY_NAME,
    LABEL_IDENTITY,
    LABEL_MODEL,
    NOBODY,
    ContainerSettings,
    asks_for_key,
    closed_network,
)
from orchestrator.runtimes.docker.engine import DockerEngine
from orchestrator.runtimes.docker.failures import (
    foreign_network,
    network_refused,
    networks_taken,
    no_such_bridge,
)
from orchestrator.runtimes.docker.handle import own_endpoint

# Of a network that leads nowhere: its containers do not reach each other either. The socket guard
# (`nginx/docker_guard`) allows exactly this.
CLOSED_OPTIONS = {"com.docker.network.bridge.enable_icc": "false"}
ID_LENGTH = 64  # of a container, whose key lies under its name


@dataclass(frozen=True, slots=True)
class Doors:
    """What the containers of all services have in common."""

    keys: ResidentKeys
    gateway: str = ""
    """Where clients ask for servers that have keys."""
    choosing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from the look at which networks are free to the create that takes one."""


class Closing:
    """For the containers of one service."""

    def __init__(self, engine: DockerEngine, settings: ContainerSettings, doors: Doors) -> None:
        self._engine = engine
        self._settings = settings
        self._keys = doors.keys
        self._gateway = doors.gateway
        self._ours = {LABEL_IDENTITY: settings.identity}
        self.choosing = doors.choosing

    async def placed(self, launch: Launch) -> ContainerSettings:
        """With the network of the next container. Raise StartFailed, EngineRefused, Unreachable."""
        if self._settings.isolated:
            if (failure := await self.lacking()) is not None:
                raise StartFailed(failure)
            return replace(self._settings, network=closed_network(self._settings.identity))
        if not self._settings.networks:
            return self._settings
        free = await self._free_network()
        if free is None:
            raise StartFailed(networks_taken(launch, self._settings.networks))
        return replace(self._settings, network=free)

    async def _free_network(self) -> str | None:
        """Also one whose containers have ended: they are kept for their logs, and go, for whoever
        starts one by hand would have it in a network with another model. Raise EngineRefused,
        Unreachable.
        """
        there = await self._engine.in_networks(self._ours)
        names = self._settings.networks
        if (free := next((name for name in names if name not in there), None)) is not None:
            return free
        for name in names:
            if all(there[name].values()) and await self._cleared(there[name]):
                return name
        return None

    async def _cleared(self, ended: Iterable[str]) -> bool:
        """False where one of them runs again. Raise Unreachable."""
        for container in ended:
            try:
                await self._engine.remove(container)
            except EngineRefused:
                return False
            self.forget(container)
        return True

    async def lacking(self) -> Failure | None:
        """What keeps containers from being alone; their network is made where there is none. Raise
        Unreachable.
        """
        if not self._settings.isolated:
            return None
        name = closed_network(self._settings.identity)
        try:
            seen = await self._engine.network(name)
            if seen is None:
                await self._engine.create_network(name, CLOSED_OPTIONS, self._ours)
                seen = await self._engine.network(name)
        except EngineRefused as refused:
            return network_refused(name, refused)
        if seen is None or not seen.internal or not CLOSED_OPTIONS.items() <= seen.options.items():
            return foreign_network(name)
        return None if _is_of_this_machine(seen.gateway) else no_such_bridge(name)

    async def hand_over_key(self, launch: Launch, container: str) -> None:
        """A new one, here and in the container. Raise OSError, EngineRefused, Unreachable."""
        if not asks_for_key(launch):
            return
        await asyncio.to_thread(self._keys.make, container)
        archive = key_archive(self._keys.told(container))
        await self._engine.put_archive(container, KEY_DIR, archive)

    def endpoint(self, seen: Container) -> Endpoint:
        """Where it answers; clients of one with a key are sent to the gateway, which knows it."""
        endpoint = own_endpoint(seen, self._settings)
        has_key = self._keys.answers_at(urlsplit(endpoint.url).netloc, seen.id)
        if not has_key or not self._gateway:
            return endpoint
        named = quote(seen.labels.get(LABEL_MODEL, ""), safe="")
        return replace(endpoint, direct=f"{self._gateway}/upstream/{named}")

    def forget(self, container: str) -> None:
        """It is gone. Forgetting twice is not an error."""
        self._keys.drop(container)

    def containers_with_keys(self) -> frozenset[str]:
        return frozenset(name for name in self._keys.names() if len(name) == ID_LENGTH)

    def forget_all(self, gone: Iterable[str]) -> None:
        for container in gone:
            self._keys.drop(container)


def key_archive(key: str) -> bytes:
    """One file, which the server alone may read, as a tar archive of four blocks."""
    content = f"{key}\n".encode()
    file = tarfile.TarInfo(KEY_NAME)
    file.size, file.mode = len(content), 0o400
    file.uid, file.gid = (int(number) for number in NOBODY.split(":"))
    header = file.tobuf(tarfile.USTAR_FORMAT)
    return header + content.ljust(tarfile.BLOCKSIZE, b"\0") + bytes(2 * tarfile.BLOCKSIZE)


def _is_of_this_machine(gateway: str) -> bool:
    """Whether that address of the bridge is one of ours, so that what is behind it is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((gateway, 0))
        except OSError:
            return False
    return True
