"""Services: what does not go together in one, and what follows from how it is written."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from orchestrator.config.commands import command_mistakes, env_mistakes
from orchestrator.config.engine_kind import SERVICE_KEYS, EngineKind
from orchestrator.config.engines import kind_of, those_with
from orchestrator.config.paths import Roots
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.yaml_lines import Mistake

# Whether a service that launches model files can do so on this machine.
Able = Callable[[ServiceEntry], bool]

_DOCKER_KEYS = (
    *("image", "auto_pull", "container", "network", "networks", "direct", "host", "cdi"),
    *("memory_mb", "hub_volume"),
)
BRIDGE = "bridge"  # of Docker itself: shared with nobody of ours
_STARTED = frozenset({"binary", "env"})  # of a server that we start
# What is said beside which engines know a key.
_BESIDE = {
    "binary": " whose server we start",
    "env": " whose servers we start",
    **dict.fromkeys(("health", "metrics", "busy"), ": of others we know what to ask"),
}
_NEEDED = {"container": ": the name of one that exists"}


def service_mistakes(entry: ServiceEntry) -> Iterator[Mistake]:
    """What does not go together in one service; nothing of one whose engine cannot be used."""
    kind = kind_of(entry)
    if kind.problem is not None:
        return
    if entry.runtime not in kind.runtimes:
        sentence = f"must be {' or '.join(kind.runtimes)} with engine {kind.name}"
        yield Mistake(("runtime",), sentence)
        return
    if entry.runtime is RuntimeName.DOCKER:
        if (entry.image is None) == (entry.container is None):
            sentence = "docker needs either an image to make containers of or a container, one only"
            yield Mistake(("image",), sentence)
        if entry.auto_pull and entry.image is None:
            yield Mistake(("auto_pull",), "is only for an image that containers are made of")
        yield from _direct_mistakes(entry)
        yield from _network_mistakes(entry)
    else:
        for key in _DOCKER_KEYS:
            if getattr(entry, key):
                yield Mistake((key,), "is only for runtime docker")
    if entry.closed and not (kind.keyed and we_start(entry)):
        sentence = "is for servers that we start, with engine llama_cpp, xllamacpp or fake"
        yield Mistake(("closed",), sentence)
    yield from _key_mistakes(entry, kind)
    if entry.url and we_start(entry):
        sentence = "is only for runtime external or a named container: we choose ours"
        yield Mistake(("url",), sentence)
    if entry.key_file is not None and not entry.url:
        sentence = "is for a server that others defined: with url, where it answers"
        yield Mistake(("key_file",), sentence)


def _network_mistakes(entry: ServiceEntry) -> Iterator[Mistake]:
    if entry.networks and entry.container is not None:
        yield Mistake(("networks",), "is only for containers that we make")
    if BRIDGE in entry.networks:
        yield Mistake(("networks",), "cannot hold Docker's own bridge: its containers share it")
    if entry.direct and entry.closed:
        yield Mistake(("direct",), "is for servers that everybody may use: not with closed: true")


def _direct_mistakes(entry: ServiceEntry) -> Iterator[Mistake]:
    if entry.direct and entry.container is not None:
        sentence = "is only for containers that we make: publish its port where it is defined"
        yield Mistake(("direct",), sentence)
    elif entry.direct and entry.network not in (None, BRIDGE) and entry.host is None:
        # A daemon that shares a network with containers runs in one: its host name is an id.
        yield Mistake(("host",), "is required with direct and network: what clients call us")
    if entry.host is not None and not entry.direct:
        yield Mistake(("host",), "is only for direct: true")


def _key_mistakes(entry: ServiceEntry, kind: EngineKind) -> Iterator[Mistake]:
    """Of the keys that only some engines know."""
    for key in SERVICE_KEYS:
        if not getattr(entry, key):
            if key in kind.needs - kind.model_keys:
                sentence = f"is required with engine {kind.name}{_NEEDED.get(key, '')}"
                yield Mistake((key,), sentence)
        elif key not in kind.service_keys or (key in _STARTED and not we_start(entry)):
            if key != "container":
                yield Mistake((key,), f"is only for {those_with(key)}{_BESIDE.get(key, '')}")
            elif entry.runtime is RuntimeName.DOCKER:
                sentence = "runs what it was made for: use engine container, without a command"
                yield Mistake((key,), sentence)
    if entry.busy and entry.metrics is None:
        yield Mistake(("busy",), "needs metrics: the path where these names are found")
    yield from env_mistakes(entry.env)
    for index, line in enumerate(entry.env):
        for beginning, why in kind.env_not.items():
            if line.startswith(beginning):
                yield Mistake(("env", index), why)
    if entry.command is not None and "command" in kind.service_keys:
        yield from command_mistakes(entry.command, entry.env)


def we_start(service: ServiceEntry) -> bool:
    """Whether its servers are started by us, out of what we make: not a container or a server that
    somebody else defined.
    """
    return service.runtime is not RuntimeName.EXTERNAL and service.container is None


def closes(service: ServiceEntry, *, keyed: bool) -> bool:
    """Whether its servers are started with keys of their own. Where it does not say, those are that
    can be, once there are keys of the API: an open server would be a way past them.
    """
    if service.closed is not None:
        return service.closed
    return keyed and kind_of(service).keyed and we_start(service) and not service.direct


def settings_home(service: ServiceEntry) -> str | None:
    """Where a server that we do not define has its settings; None if we choose them."""
    if service.container is not None:
        return f"container {service.container} is defined (its compose file, or its .env)"
    if service.runtime is RuntimeName.EXTERNAL:
        return "the external server is started"
    return kind_of(service).settings_home


def launched_by_us(service: ServiceEntry) -> bool:
    """Whether its servers are started with settings of ours."""
    return settings_home(service) is None


def launches_files(service: ServiceEntry) -> bool:
    """Whether we start its servers, on GGUF files."""
    return launched_by_us(service) and kind_of(service).reads_files


def tells_use(service: ServiceEntry) -> bool:
    """Whether its servers say if they are in use; if not, only requests that we pass are seen."""
    return kind_of(service).tells_use or service.metrics is not None


def home_service(services: Mapping[str, ServiceEntry], able: Able) -> str | None:
    """Which one runs models that name none: the only one, or the first that can run their files."""
    if len(services) == 1:
        return next(iter(services))
    launching = [name for name, entry in services.items() if launches_files(entry)]
    return next((name for name in launching if able(services[name])), next(iter(launching), None))


def roots_of(service: ServiceEntry) -> Roots:
    return Roots(
        models_dir=None if service.models_dir is None else Path(service.models_dir),
        others=tuple(Path(root) for root in service.allowed_roots),
    )
