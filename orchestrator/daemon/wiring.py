"""The composition root: chooses the driver behind every port, and its settings.

Docker's drivers are imported where a service uses them: the SDK takes a tenth of a daemon's start.
"""

# ruff: noqa: PLC0415 - see above

import asyncio
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.hub_supply import HubSupply
from orchestrator.catalogue.predictions import Predictions
from orchestrator.catalogue.sizing import IN_PYTHON
from orchestrator.config.cores import physical_cores
from orchestrator.config.loading import Config
from orchestrator.config.sections import DeviceSource, EngineName, RuntimeName, ServiceEntry
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.core.values.vram import MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.devices.host import HostDevices
from orchestrator.devices.machine import Machine, detect
from orchestrator.devices.nvml import NvmlDevices, ask_driver
from orchestrator.devices.nvml_driver import Trouble
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.defined_elsewhere import ExternalLauncher, Lacking, NamedContainerLauncher
from orchestrator.engines.fake import StandInLauncher
from orchestrator.engines.health_path import HealthPathTalker
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.binary import candidates
from orchestrator.engines.llama.container import LlamaImageLauncher
from orchestrator.engines.llama.files import gguf_problem
from orchestrator.engines.llama.local import LlamaBinaryLauncher
from orchestrator.engines.llama.log import classify
from orchestrator.engines.llama.router import LlamaRouterTalker
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.engines.xllamacpp.launcher import XLlamaCppLauncher
from orchestrator.errors import ConfigInvalid, Failed
from orchestrator.gguf.dry_run import DryRuns, find_planner
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.soundness import damage
from orchestrator.hub import Access, access_from
from orchestrator.ports import Clock, Devices, Drivers, Engine, Launcher, Runtime, Supply, Talker
from orchestrator.runtimes.docker.create import ContainerSettings, ModelsDir, models_dir
from orchestrator.runtimes.external import ExternalRuntime
from orchestrator.runtimes.process.runtime import ProcessRuntime

if TYPE_CHECKING:
    from orchestrator.runtimes.docker.images import ImageSupply
    from orchestrator.runtimes.docker.runtime import DockerRuntime

log = logging.getLogger("orchestrator")

VERSION = version("vram-orchestrator")
DOCKER_SOCKET = "unix:///var/run/docker.sock"
CLAIMS_DIR = "fake-devices"
IMAGES_S_MAX = 2.0  # Docker answers within some 20 ms; a start does not wait for one that hangs


async def make_devices(config: Config, clock: Clock) -> tuple[Devices, FakeDevices | None]:
    match config.devices.source:
        case DeviceSource.FAKE:
            specs = [
                FakeDeviceSpec(
                    name=device.name,
                    total_bytes=device.total_mb * MiB,
                    release_lag_s=device.release_lag_s,
                    kind=device.kind,
                    processes_visible=device.processes_visible,
                )
                for device in config.devices.fake
            ]
            fake = FakeDevices(clock, config.state_dir / CLAIMS_DIR, specs)
            return fake, fake
        case DeviceSource.HOST:
            return HostDevices(clock), None
        case DeviceSource.NVML:
            return Machine(NvmlDevices(clock), HostDevices(clock)), None
        case DeviceSource.AUTO:
            detected = await detect(clock)
            if detected.problem:
                log.warning("budgeting host RAM: %s", detected.problem)
            return detected.devices, None


async def nvidia_driver() -> str | Trouble:
    """What the driver says of itself, or why it cannot be used."""
    return await ask_driver()


def make_drivers(
    config: Config, http: ServerHttp, runtimes: "Runtimes", catalogue: Catalogue
) -> dict[ServiceName, Drivers]:
    hub = HubSupply(hub_access(), catalogue)
    return {
        name: Drivers(
            engine=_make_engine(entry, config, http, runtimes),
            runtime=runtimes.of(entry),
            supplies=(hub, *runtimes.supplies(entry)),
            shared=entry.container is not None,
            stop_grace_s=config.scheduling.stop_grace_s,
            load_deadline_s=config.scheduling.load_deadline_s,
        )
        for name, entry in config.services.items()
    }


def _make_engine(
    entry: ServiceEntry, config: Config, http: ServerHttp, runtimes: "Runtimes"
) -> Engine:
    return ComposedEngine(
        launcher=_make_launcher(entry, config, runtimes),
        talker=_make_talker(entry, http),
        classify=partial(classify, memory_mb=entry.memory_mb),
    )


def _make_launcher(entry: ServiceEntry, config: Config, runtimes: "Runtimes") -> Launcher:
    if entry.container is not None:
        return NamedContainerLauncher(entry.container, _lacking(entry, runtimes))
    match entry.engine, entry.runtime:
        case EngineName.FAKE, _:
            is_fake = config.devices.source is DeviceSource.FAKE
            return StandInLauncher(config.state_dir / CLAIMS_DIR if is_fake else None)
        case EngineName.XLLAMACPP, _:
            return XLlamaCppLauncher(physical_cores=physical_cores(), file_problem=_file_problem)
        case EngineName.LLAMA_CPP, RuntimeName.EXTERNAL:
            return ExternalLauncher()
        case EngineName.LLAMA_CPP, RuntimeName.DOCKER:
            assert entry.image is not None  # the configuration saw to that
            return LlamaImageLauncher(
                entry.image,
                models_dir=None if entry.models_dir is None else Path(entry.models_dir),
                hub_home=hub_access().home,
                physical_cores=physical_cores(),
                lacking=_lacking(entry, runtimes),
                file_problem=_file_problem,
            )
        case EngineName.LLAMA_CPP, RuntimeName.PROCESS:
            return LlamaBinaryLauncher(
                _llama_servers(entry), physical_cores=physical_cores(), file_problem=_file_problem
            )
        case _:
            raise ConfigInvalid((f"engine {entry.engine} is not supported by this version",))


def _make_talker(entry: ServiceEntry, http: ServerHttp) -> Talker:
    if entry.engine is EngineName.CONTAINER:
        return HealthPathTalker(http, entry.health or "/")
    return LlamaRouterTalker(http) if entry.runtime is RuntimeName.EXTERNAL else LlamaTalker(http)


def _llama_servers(entry: ServiceEntry) -> tuple[Path, ...]:
    search_path = os.environ.get("PATH")  # noqa: TID251 - where programs are looked for
    binary = None
    if entry.binary:
        binary = Path(shutil.which(entry.binary, path=search_path) or entry.binary)
    return tuple(candidates(binary, search_path))


def _lacking(entry: ServiceEntry, runtimes: "Runtimes") -> Lacking:
    docker = runtimes.docker(entry)

    async def lacking(spec: ModelSpec) -> Failure | None:
        return await docker.lacking(spec.service, image=entry.image, container=entry.container)

    return lacking


def _file_problem(path: Path) -> str | None:
    """What keeps a model file from being loaded, as far as its header tells: see Engine.check."""
    return gguf_problem(path) or damage(path)


def make_predictions(services: Mapping[str, ServiceEntry]) -> Predictions:
    """A service's own binary is its planner: another build would need other amounts.

    The llama-server on PATH plans for services whose own binary cannot be run here.
    """
    planners: dict[Path, DryRuns | None] = {}

    def beside(binaries: tuple[Path, ...]) -> DryRuns | None:
        for binary in binaries:
            directory = binary.resolve().parent
            if directory not in planners:
                planners[directory] = _dry_runs(directory)
            if (found := planners[directory]) is not None:
                return found
        return None

    launched = {
        ServiceName(name): beside(_llama_servers(entry))
        for name, entry in services.items()
        if (entry.engine, entry.runtime) == (EngineName.LLAMA_CPP, RuntimeName.PROCESS)
    }
    search_path = os.environ.get("PATH")  # noqa: TID251 - where programs are looked for
    on_path = shutil.which("llama-server", path=search_path)
    others = beside((Path(on_path),)) if on_path is not None else None
    in_python = {
        ServiceName(name): IN_PYTHON
        for name, entry in services.items()
        if entry.engine is EngineName.XLLAMACPP
    }
    return Predictions(Headers(), dry_runs=others, of_services=launched, servers=in_python)


def _dry_runs(directory: Path) -> DryRuns | None:
    pretends = (directory / "ggml-rpc-server").is_file()
    with suppress(GgufError):  # it does not run on this machine: the header must do
        return DryRuns(find_planner(directory, pretend_gpus=pretends))
    return None


class ServerVersions(Mapping[ServiceName, str]):
    """Which version of its server a service runs: measurements are believed for that one only.

    An image that is built anew keeps its tag, so its id is the version. Docker is asked for it at
    the start and before every load; until it has answered, the tag is.
    """

    def __init__(self, config: Config, runtimes: "Runtimes") -> None:
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
    if entry.engine is EngineName.XLLAMACPP:
        with suppress(PackageNotFoundError):
            return version("xllamacpp")
    if entry.engine is EngineName.LLAMA_CPP and entry.runtime is RuntimeName.PROCESS:
        for path in _llama_servers(entry):
            with suppress(OSError):
                seen = path.stat()
                return f"{path}:{seen.st_size}:{seen.st_mtime_ns}"
    return entry.image or entry.container or ""


class Runtimes:
    """Makes a runtime when the first service needs it. Equal services share one."""

    def __init__(self, config: Config, descriptors: int | None = None) -> None:
        """`descriptors` is the limit of open files that servers are given; None: ours."""
        self._config = config
        self._descriptors = descriptors
        self._process: ProcessRuntime | None = None
        self._external: ExternalRuntime | None = None
        self._docker: dict[ServiceEntry, DockerRuntime] = {}  # settings differ by service
        self._images: list[ImageSupply] = []

    async def close(self) -> None:
        """Stop watching. What runs goes on."""
        if self._process is not None:
            await self._process.close()
        for runtime in self._docker.values():
            await runtime.close()
        for supply in self._images:
            await supply.close()

    def supplies(self, entry: ServiceEntry) -> Iterator[Supply]:
        if entry.auto_pull and entry.image is not None:
            from orchestrator.runtimes.docker.engine import DockerEngine
            from orchestrator.runtimes.docker.images import ImageSupply

            supply = ImageSupply(DockerEngine(docker_url()), entry.image)
            self._images.append(supply)
            yield supply

    async def trim_logs(self) -> None:
        """Cut the logs of servers that run on; containers have limits of their own."""
        if self._process is not None:
            await self._process.trim_logs()

    def of(self, entry: ServiceEntry) -> Runtime:
        match entry.runtime:
            case RuntimeName.PROCESS:
                if self._process is None:
                    environment = dict(os.environ)  # noqa: TID251 - the runtime takes what it may
                    self._process = ProcessRuntime(
                        self._config.state_dir,
                        identity_of(self._config.state_dir),
                        environment,
                        descriptors=self._descriptors,
                    )
                return self._process
            case RuntimeName.EXTERNAL:
                if self._external is None:
                    self._external = ExternalRuntime()
                return self._external
            case RuntimeName.DOCKER:
                return self.docker(entry)
            case _:
                assert_never(entry.runtime)

    def docker(self, entry: ServiceEntry) -> "DockerRuntime":
        if entry not in self._docker:
            self._docker[entry] = _docker_runtime(entry, self._config)
        return self._docker[entry]


async def docker_api(within_s: float) -> str:
    """The version of the API that Docker's engine speaks. Raise Failed if it cannot be asked."""
    from orchestrator.runtimes.docker.engine import Deadlines, DockerEngine

    deadlines = Deadlines(call_s=within_s, create_s=within_s, start_s=within_s, remove_s=within_s)
    engine = DockerEngine(docker_url(), deadlines)
    try:
        return await engine.api_version()
    finally:
        engine.close()


def docker_url() -> str:
    return os.environ.get("DOCKER_HOST") or DOCKER_SOCKET  # noqa: TID251 - as every Docker client


def _docker_runtime(entry: ServiceEntry, config: Config) -> "DockerRuntime":
    from orchestrator.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(
        docker_url(),
        ContainerSettings(
            identity=identity_of(config.state_dir),
            version=VERSION,
            network=entry.network,
            direct=(entry.host or socket.gethostname()) if entry.direct else None,
            models=tuple(_readable(entry)),
            cdi=entry.cdi,
            memory_bytes=None if entry.memory_mb is None else entry.memory_mb * MiB,
        ),
        named={} if entry.container is None else {entry.container: entry.url},
    )


def _readable(entry: ServiceEntry) -> Iterator[ModelsDir]:
    """What containers of the service may read: its models, and the cache of the model hub."""
    if entry.models_dir is not None:
        yield models_dir(Path(entry.models_dir))
    yield models_dir(hub_access().home, entry.hub_volume)


def hub_access() -> Access:
    return access_from(os.environ)  # noqa: TID251 - named as for every program that knows a hub


def identity_of(state_dir: Path) -> str:
    """The mark that tells our processes and containers from those of another state directory."""
    path = state_dir / "identity"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        identity = uuid.uuid4().hex
        path.write_text(identity + "\n")
        return identity
