"""What an engine is made from: one value that every maker is given, of which it takes its part."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.files import FileProblem, gguf_problem
from orchestrator.ports import Engine

Lacking = Callable[[ModelSpec], Awaitable[Failure | None]]  # what the runtime would not find


async def nothing_lacking(spec: ModelSpec) -> Failure | None:  # noqa: ARG001 - a Lacking
    """Of servers that are no containers."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What is written of a service, and what of this machine its engine may use."""

    http: ServerHttp
    """What servers are asked with."""
    external: bool = False
    """Its servers are their owner's: never started or stopped."""
    container: str | None = None
    """docker: the one that somebody else defined."""
    image: str | None = None
    """docker: what containers are made of."""
    lacking: Lacking = nothing_lacking
    """docker: what it would not find of these."""
    program: str | None = None
    """As the service's `binary` names it."""
    programs: tuple[Path, ...] = ()
    """Where that, or the engine's own, is on this machine, the best first."""
    search_path: str = ""
    """Where programs are looked for by name."""
    models_dir: Path | None = None
    hub_home: Path = Path()
    """The cache of the model hub."""
    file_problem: FileProblem = gguf_problem
    """What is wrong with a model file."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The operator's own, for its servers."""
    health: str | None = None
    """The path that answers once a server is ready."""
    metrics: str | None = None
    """The path that tells of its use, and the names there that say so."""
    busy: tuple[str, ...] = ()
    memory_mb: int | None = None
    """docker: the most host RAM that one container may take."""
    closed: bool = False
    """Its servers answer those alone who have their key."""
    physical_cores: int = 1
    claims_dir: Path | None = None
    """Where stand-ins charge what they take from fake devices; None: there are none."""


Maker = Callable[[Premises], Engine]
