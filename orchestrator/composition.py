"""Names the concrete drivers, and nothing else does: which module stands behind each port."""

import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import assert_never

from orchestrator.config import Config
from orchestrator.config.sections import DeviceSource, EngineName, RuntimeName, ServiceEntry
from orchestrator.core.failures import Failure
from orchestrator.core.specs import ModelSpec, ServiceName
from orchestrator.core.vram import MiB
from orchestrator.engines import llama_binary
from orchestrator.engines.container import Lacking, SomeContainer
from orchestrator.engines.cores import physical_cores
from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.llama_container import LlamaContainer
from orchestrator.engines.llama_cpp import LlamaCpp
from orchestrator.engines.llama_external import LlamaExternal
from orchestrator.engines.llama_http import LlamaHttp
from orchestrator.engines.model_files import gguf_problem
from orchestrator.engines.xllamacpp import XLlamaCpp
from orchestrator.errors import ConfigInvalid
from orchestrator.execution import Drivers
from orchestrator.gguf.dry_run import DryRuns, find_planner
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.soundness import damage
from orchestrator.gpu.fake import FakeDevices, FakeDeviceSpec
from orchestrator.gpu.host import HostDevices
from orchestrator.gpu.machine import Machine, detect
from orchestrator.gpu.nvml import NvmlDevices
from orchestrator.ports import Clock, Devices, Engine, Runtime
from orchestrator.prediction import Predictions
from orchestrator.runtimes.docker import DockerRuntime
from orchestrator.runtimes.docker_create import ContainerSettings, models_dir
from orchestrator.runtimes.external import ExternalRuntime
from orchestrator.runtimes.process import ProcessRuntime

log = logging.getLogger("orchestrator")

VERSION = version("vram-orchestrator")
DOCKER_SOCKET = "unix:///var/run/docker.sock"
CLAIMS_DIR = "fake-devices"


async def make_devices(config: Config, clock: Clock) -> tuple[Devices, FakeDevices | None]:
    match config.devices.source:
        case DeviceSource.FAKE:
            specs = [
                FakeDeviceSpec(
                    name=each.name,
                    total_bytes=each.total_mb * MiB,
                    release_lag_s=each.release_lag_s,
                    kind=each.kind,
                    processes_visible=each.processes_visible,
                )
                for each in config.devices.fake
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


def make_drivers(
    config: Config, http: LlamaHttp, runtimes: "Runtimes"
) -> dict[ServiceName, Drivers]:
    return {
        name: Drivers(
            engine=_make_engine(entry, config, http, runtimes),
            runtime=runtimes.of(entry),
            shared=entry.container is not None,
            stop_grace_s=config.scheduling.stop_grace_s,
            load_deadline_s=config.scheduling.load_deadline_s,
        )
        for name, entry in config.services.items()
    }


def _make_engine(
    entry: ServiceEntry, config: Config, http: LlamaHttp, runtimes: "Runtimes"
) -> Engine:
    match entry.engine:
        case EngineName.FAKE:
            is_fake = config.devices.source is DeviceSource.FAKE
            claims_dir = config.state_dir / CLAIMS_DIR if is_fake else None
            return FakeEngine(http, claims_dir=claims_dir)
        case EngineName.XLLAMACPP:
            return XLlamaCpp(http, physical_cores=physical_cores(), file_problem=_file_problem)
        case EngineName.CONTAINER:
            assert entry.container is not None  # the configuration saw to that
            return SomeContainer(
                http,
                container=entry.container,
                health=entry.health or "/",
                lacking=_lacking(entry, runtimes),
            )
        case EngineName.LLAMA_CPP if entry.runtime is RuntimeName.DOCKER:
            return LlamaContainer(
                http,
                image=entry.image,
                container=entry.container,
                models_dir=None if entry.models_dir is None else Path(entry.models_dir),
                physical_cores=physical_cores(),
                lacking=_lacking(entry, runtimes),
                memory_mb=entry.memory_mb,
                file_problem=_file_problem,
            )
        case EngineName.LLAMA_CPP if entry.runtime is RuntimeName.EXTERNAL:
            return LlamaExternal(http)
        case EngineName.LLAMA_CPP:
            return LlamaCpp(
                _llama_servers(entry),
                http,
                physical_cores=physical_cores(),
                file_problem=_file_problem,
            )
        case _:
            raise ConfigInvalid((f"engine {entry.engine} is not supported by this version",))


def _llama_servers(entry: ServiceEntry) -> tuple[Path, ...]:
    search_path = os.environ.get("PATH")  # noqa: TID251 - where programs are looked for
    binary = None
    if entry.binary:
        binary = Path(shutil.which(entry.binary, path=search_path) or entry.binary)
    return tuple(llama_binary.candidates(binary, search_path))


def _lacking(entry: ServiceEntry, runtimes: "Runtimes") -> Lacking:
    docker = runtimes.docker(entry)

    async def lacking(spec: ModelSpec) -> Failure | None:
        return await docker.lacking(spec.service, image=entry.image, container=entry.container)

    return lacking


def _file_problem(path: Path) -> str | None:
    """What keeps a model file from being loaded, as far as its header tells: see Engine.check."""
    return gguf_problem(path) or damage(path)


def make_predictions(services: Mapping[str, ServiceEntry]) -> Predictions:
    """With the binary of each service as its planner: no other one knows what it will take.

    A llama-server on PATH plans for the services whose own cannot be asked here.
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
    return Predictions(Headers(), dry_runs=others, of_services=launched)


def _dry_runs(directory: Path) -> DryRuns | None:
    pretends = (directory / "ggml-rpc-server").is_file()
    with suppress(GgufError):  # it does not run on this machine: the header must do
        return DryRuns(find_planner(directory, pretend_gpus=pretends))
    return None


def server_versions(config: Config) -> dict[ServiceName, str]:
    """What was measured with one version of a server is not believed of another."""
    return {name: _server_version(entry) for name, entry in config.services.items()}


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
    """One of each kind, shared by the services that use it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: ProcessRuntime | None = None
        self._external: ExternalRuntime | None = None
        self._docker: dict[ServiceEntry, DockerRuntime] = {}  # settings differ by service

    async def close(self) -> None:
        """Stop watching. What runs goes on."""
        if self._process is not None:
            await self._process.close()
        for runtime in self._docker.values():
            await runtime.close()

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
                        self._config.state_dir, identity_of(self._config.state_dir), environment
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

    def docker(self, entry: ServiceEntry) -> DockerRuntime:
        if entry not in self._docker:
            self._docker[entry] = _docker_runtime(entry, self._config)
        return self._docker[entry]


def _docker_runtime(entry: ServiceEntry, config: Config) -> DockerRuntime:
    url = os.environ.get("DOCKER_HOST") or DOCKER_SOCKET  # noqa: TID251 - as every Docker client
    return DockerRuntime(
        url,
        ContainerSettings(
            identity=identity_of(config.state_dir),
            version=VERSION,
            network=entry.network,
            models=() if entry.models_dir is None else (models_dir(Path(entry.models_dir)),),
            cdi=entry.cdi,
            memory_bytes=None if entry.memory_mb is None else entry.memory_mb * MiB,
        ),
        named={} if entry.container is None else {entry.container: entry.url},
    )


def identity_of(state_dir: Path) -> str:
    """What tells our processes and containers from those of another state directory."""
    path = state_dir / "identity"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        identity = uuid.uuid4().hex
        path.write_text(identity + "\n")
        return identity
