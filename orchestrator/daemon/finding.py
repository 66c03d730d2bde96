"""Models that are found on this machine: where they are looked for, and when."""

import asyncio
import importlib.util
import os
from collections.abc import Callable

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.found.discovery import Discovery, places
from orchestrator.catalogue.found.ollama_store import stores
from orchestrator.catalogue.found.seen import ModelPlace
from orchestrator.config.discovery_section import DiscoverySettings
from orchestrator.config.engines import kind_of
from orchestrator.config.loading import OWN_CONFIG, Config
from orchestrator.config.sections import (
    RuntimeName,
    ServiceEntry,
)
from orchestrator.core.values.specs import ModelSpecs
from orchestrator.daemon.wiring import hub_access, programs_of
from orchestrator.gguf.headers import Headers

SWEEP_S = 2.0  # a file is a model, or none any more, so long after it came or went
FIRST_SWEEP_S_MAX = 20.0  # a disk that does not answer keeps no daemon from starting
NAMED_MAX = 8  # models in the line that a start ends with


def make_discovery(headers: Headers) -> Discovery:
    return Discovery(_places, headers.of)


def _places(settings: DiscoverySettings) -> tuple[ModelPlace, ...]:
    environ = os.environ  # noqa: TID251 - named as Ollama names it
    return places(settings, hub_access().home, stores(environ))


def runs_here(entry: ServiceEntry) -> bool:
    """Whether what a service runs is there, as far as a glance tells; it is not started."""
    kind = kind_of(entry)
    if kind.package is not None:
        return importlib.util.find_spec(kind.package) is not None
    if kind.program is not None and entry.runtime is RuntimeName.PROCESS:
        return any(path.is_file() for path in programs_of(entry))
    return True


def greeting(config: Config, specs: ModelSpecs, runs: Callable[[ServiceEntry], bool]) -> list[str]:
    """Lines for the log: which models there are, or what to type where there is none."""
    home = None if config.home is None else config.services[config.home]
    lines = []
    if config.path == OWN_CONFIG and home is not None and not runs(home):
        lines.append(
            "There is neither a llama-server on PATH nor the package xllamacpp: no model can be "
            "loaded. Install llama.cpp, or: pip install 'vram-orchestrator[local]'."
        )
    names = [spec.name for spec in specs.values() if spec.failed is None]
    if names:
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        return [*lines, f"models: {', '.join(names[:NAMED_MAX])}{more}"]
    if config.discovery.folders:
        lines.append(f"No model yet: put GGUF files under {', '.join(config.discovery.folders)},")
    else:
        lines.append("No model yet: start me with a folder of GGUF files (orchestrator serve DIR),")
    return [*lines, "or type: orchestrator add FILE.gguf, orchestrator add ORG/REPO:Q4_K_M"]


async def first_sweep(catalogue: Catalogue) -> None:
    """Before what still runs is taken over: a model that was found has to be known by then."""
    try:
        async with asyncio.timeout(FIRST_SWEEP_S_MAX):
            await catalogue.sweep()
    except TimeoutError:
        return  # its thread goes on, and a later sweep brings what it saw
