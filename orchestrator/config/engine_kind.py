"""What an engine declares of itself: an entry of the table, or brought by another package."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.config.sections import RuntimeName

# Keys of services and models that only some engines know.
SERVICE_KEYS = ("container", "binary", "command", "env", "health", "metrics", "busy")
MODEL_KEYS = ("command", "env", "fake", "extra_args")
FILE_KEYS = ("file", "mmproj", "lora")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One engine, as it is declared."""

    name: str
    about: str
    """What it is, in a sentence for the reference."""
    maker: str
    """Makes one for a service: module:function, imported where a service uses it."""
    runtimes: tuple[RuntimeName, ...]
    service_keys: frozenset[str] = frozenset()
    """What it takes of the keys that only some engines know (SERVICE_KEYS)."""
    model_keys: frozenset[str] = frozenset()
    """Likewise of those of a model (MODEL_KEYS)."""
    needs: frozenset[str] = frozenset()
    """Which of these must be written; of those that both know, in one of both."""
    reads_files: bool = False
    """Its servers load model files: GGUF."""
    tells_use: bool = True
    """Its servers say by themselves if they are in use; else where `metrics` are named."""
    settings_home: str | None = None
    """Where its servers have their settings; None: these are ours to choose, by a model's keys."""
    env_not: Mapping[str, str] = field(default_factory=dict)
    """How variables begin that `env` may not set, and why."""
    program: str | None = None
    """What it runs as a process of this machine, by its name on PATH, or as `binary` names it."""
    package: str | None = None
    """The package of Python that it runs instead."""
    keyed: bool = False
    """Its servers can be started with a key, as processes."""
    on_gpus: bool = True
    """Its servers compute on GPUs where there are some."""
    llama_routes: bool = False
    """Its servers have the routes of `llama-server`."""
    problem: str | None = None
    """Why nothing can be run with it."""
