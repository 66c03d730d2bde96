"""The composition root: chooses the driver behind every port, and its settings.

Docker's drivers are imported where a service uses them: the SDK takes a tenth of a daemon's start.
"""

# ruff: noqa: PLC0415 - see above

import logging
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, assert_never, cast

from orchestrator.access.resident_keys import FOLDER as KEYS_FOLDER
from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.hub_supply import HubSupply
from orchestrator.catalogue.predictions import Predictions
from orchestrator.catalogue.sizing import IN_PYTHON
from orchestrator.config.cores import physical_cores
from orchestrator.config.device_section import DeviceSource
from orchestrator.config.engines import KINDS, kind_of
from orchestrator.config.loading import Config
from orchestrator.config.programs import environment_of
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.services import BRIDGE, closes
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.planner import fits
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.core.values.vram import MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.devices.host import HostDevices
from orchestrator.devices.machine import Machine, detect
from orchestrator.devices.nvml import NvmlDevices, ask_driver
from orchestrator.devices.nvml_driver import Trouble
from orchestrator.downloads import Downloads
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.binary import candidates
from orchestrator.engines.llama.files import FileProblem, gguf_problem
from orchestrator.engines.premises import Lacking, Maker, Premises, nothing_lacking
from orchestrator.engines.unmade import UnmadeEngine
from orchestrator.gguf.dry_run import DryRuns, find_planner
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.soundness import Soundness
from orchestrator.hub import Access, access_from
from orchestrator.ports import Clock, Devices, Drivers, Engine, Runtime, Supply
from orchestrator.runtimes.docker.create import ContainerSettings, ModelsDir, models_dir
from orchestrator.runtimes.external import ExternalRuntime
from orchestrator.runtimes.process.runtime import ProcessRuntime

if TYPE_CHECKING:
    from orchestrator.runtimes.docker.closed import Doors
    from orchestrator.runtimes.docker.images import ImageSupply
    from orchestrator.runtimes.docker.runtime import DockerRuntime

log = logging.getLogger("orchestrator")

VERSION = version("vram-orchestrator")
DOCKER_SOCKET = "unix:///var/run/docker.sock"
CLAIMS_DIR = "fake-devices"


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
    config: Config, http: ServerHttp, runtimes: "Runtimes", catalogue: Catalogue, ledger: Ledger
) -> dict[ServiceName, Drivers]:
    hub = HubSupply(
        hub_access(),
        catalogue,
        downloads=runtimes.downloads,
        fits=lambda spec: fits(spec, ledger),
    )
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
    """One of another package that cannot be made stands in its place, and says why."""
    kind = kind_of(entry)
    problem = kind.problem
    if problem is None:
        premises = _premises(entry, config, http, runtimes)
        try:
            engine = cast("Maker", resolve_name(kind.maker))(premises)
            _ = engine.tells_use  # what is no engine has none
        except Exception as error:
            if kind.name in KINDS:  # a mistake of ours
                raise
            problem = f"engine {kind.name} cannot be made: {type(error).__name__}: {error}"
            log.debug("%s", problem, exc_info=True)
        else:
            return engine
    log.error("%s; its models cannot be loaded", problem)
    return UnmadeEngine(problem, external=entry.runtime is RuntimeName.EXTERNAL)


def _premises(
    entry: ServiceEntry, config: Config, http: ServerHttp, runtimes: "Runtimes"
) -> Premises:
    in_docker = entry.runtime is RuntimeName.DOCKER
    return Premises(
        http=http,
        external=entry.runtime is RuntimeName.EXTERNAL,
        container=entry.container,
        image=entry.image,
        lacking=_lacking(entry, runtimes) if in_docker else nothing_lacking,
        program=entry.binary,
        programs=programs_of(entry),
        search_path=_search_path(),
        models_dir=None if entry.models_dir is None else Path(entry.models_dir),
        hub_home=hub_access().home,
        file_problem=_file_problem(),
        env=environment_of(entry.env),
        health=entry.health,
        metrics=entry.metrics,
        busy=entry.busy,
        memory_mb=entry.memory_mb,
        closed=closes(entry, keyed=runtimes.close_servers),
        physical_cores=physical_cores(),
        claims_dir=(
            config.state_dir / CLAIMS_DIR if config.devices.source is DeviceSource.FAKE else None
        ),
    )


def _search_path() -> str:
    return os.environ.get("PATH", os.defpath)  # noqa: TID251 - where programs are looked for


def programs_of(entry: ServiceEntry) -> tuple[Path, ...]:
    """What it runs as a process of this machine, the best first; nothing if it runs none."""
    program = kind_of(entry).program
    if program is None or entry.runtime is not RuntimeName.PROCESS:
        return ()
    search_path = _search_path()
    binary = None
    if entry.binary:
        binary = Path(shutil.which(entry.binary, path=search_path) or entry.binary)
    return candidates(binary, search_path, program)


def _lacking(entry: ServiceEntry, runtimes: "Runtimes") -> Lacking:
    docker = runtimes.docker(entry)

    async def lacking(spec: ModelSpec) -> Failure | None:
        return await docker.lacking(spec.service, image=entry.image, container=entry.container)

    return lacking


def _file_problem() -> FileProblem:
    """What keeps a model file from being loaded, as far as its header tells: see Engine.check."""
    soundness = Soundness()
    return lambda path: gguf_problem(path) or soundness.damage(path)


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
        ServiceName(name): beside(programs_of(entry))
        for name, entry in services.items()
        if kind_of(entry).program is not None and entry.runtime is RuntimeName.PROCESS
    }
    on_path = shutil.which("llama-server", path=_search_path())
    others = beside((Path(on_path),)) if on_path is not None else None
    in_python = {
        ServiceName(name): IN_PYTHON
        for name, entry in services.items()
        if kind_of(entry).package is not None
    }
    return Predictions(Headers(), dry_runs=others, of_services=launched, servers=in_python)


def _take_key(keys: ResidentKeys, service: ServiceName, url: str, file: Path) -> None:
    """Of a server that others defined. Where it cannot be read, that server refuses us."""
    try:
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        log.warning("services.%s.key_file: %s. Its server is asked without a key.", service, error)
        return
    if key:
        keys.take(url, key)
    else:
        log.warning("services.%s.key_file: %s is empty.", service, file)


def _dry_runs(directory: Path) -> DryRuns | None:
    pretends = (directory / "ggml-rpc-server").is_file()
    with suppress(GgufError):  # it does not run on this machine: the header must do
        return DryRuns(find_planner(directory, pretend_gpus=pretends))
    return None


class Runtimes:
    """Makes a runtime when the first service needs it. Equal services share one."""

    def __init__(self, config: Config, descriptors: int | None = None, gateway: str = "") -> None:
        """`descriptors` is the limit of open files that servers are given; None: ours. `gateway` is
        where clients ask for servers that have keys.
        """
        self._gateway = gateway
        self.close_servers = False  # of services that do not say: there are keys of the API
        self.keys = ResidentKeys(config.state_dir / KEYS_FOLDER)
        for name, entry in config.services.items():
            if entry.url is not None and entry.key_file is not None:
                _take_key(self.keys, name, entry.url, Path(entry.key_file))
        self._config = config
        self._descriptors = descriptors
        self._process: ProcessRuntime | None = None
        self._external: ExternalRuntime | None = None
        self._docker: dict[ServiceEntry, DockerRuntime] = {}  # settings differ by service
        self._docker_doors: Doors | None = None  # of all of them
        self._images: list[ImageSupply] = []
        self.downloads = Downloads()  # whatever is brought, for whichever service

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

            supply = ImageSupply(DockerEngine(docker_url()), entry.image, self.downloads)
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
                        keys=self.keys,
                        gateway=self._gateway,
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
            closed = closes(entry, keyed=self.close_servers)
            self._docker[entry] = _docker_runtime(entry, self._config, self._doors(), closed=closed)
        return self._docker[entry]

    def _doors(self) -> "Doors":
        from orchestrator.runtimes.docker.closed import Doors

        self._docker_doors = self._docker_doors or Doors(self.keys, self._gateway)
        return self._docker_doors


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


def _docker_runtime(
    entry: ServiceEntry, config: Config, doors: "Doors", *, closed: bool
) -> "DockerRuntime":
    from orchestrator.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(
        docker_url(),
        ContainerSettings(
            identity=identity_of(config.state_dir),
            version=VERSION,
            network=None if entry.network == BRIDGE else entry.network,
            networks=entry.networks if closed else (),
            isolated=closed and entry.network is None and not entry.networks,
            direct=(entry.host or socket.gethostname()) if entry.direct else None,
            models=tuple(_readable(entry)),
            cdi=entry.cdi,
            memory_bytes=None if entry.memory_mb is None else entry.memory_mb * MiB,
        ),
        doors=doors,
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
