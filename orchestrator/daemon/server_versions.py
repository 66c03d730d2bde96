"""Which version of its server a service runs: measurements are believed for that one only."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from orchestrator.config.engines import kind_of
from orchestrator.config.loading import Config
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.core.values.specs import ServiceName
from orchestrator.daemon.wiring import Runtimes, programs_of
from orchestrator.errors import Failed

if TYPE_CHECKING:
    from orchestrator.runtimes.docker.runtime import DockerRuntime

IMAGES_S_MAX = 2.0  # Docker answers within some 20 ms; a start does not wait for one that hangs


class ServerVersions(Mapping[ServiceName, str]):
    """By service. An image that is built anew keeps its tag, so its id is the version.

    Docker is asked for it at the start and before every load; until it has answered, the tag is.
    """

    def __init__(self, config: Config, runtimes: Runtimes) -> None:
        self._plain = {name: _server_version(entry) for name, entry in config.services.items()}
        self._images = {
            name: (runtimes.docker(entry), entry.image)
            for name, entry in config.services.items()
            if entry.runtime is RuntimeName.DOCKER and entry.image and entry.container is None
        }

    def __getitem__(self, service: ServiceName) -> str:
        if service in self._images:
            runtime, image = self._images[service]
            return runtime.images.get(image, image)
        return self._plain[service]

    def __iter__(self) -> Iterator[ServiceName]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)

    async def look(self) -> None:
        """Ask Docker for the ids, for a short time: it is asked again before a load."""

        async def ask(runtime: "DockerRuntime", image: str) -> None:
            with suppress(Failed):
                await runtime.look_at_image(image)

        with suppress(TimeoutError):
            async with asyncio.timeout(IMAGES_S_MAX):
                await asyncio.gather(*(ask(*image) for image in self._images.values()))


def _server_version(entry: ServiceEntry) -> str:
    package = kind_of(entry).package
    if package is not None:
        with suppress(PackageNotFoundError):
            return version(package)
    for path in programs_of(entry):
        with suppress(OSError):
            seen = path.stat()
            return f"{path}:{seen.st_size}:{seen.st_mtime_ns}"
    return entry.image or entry.container or ""
