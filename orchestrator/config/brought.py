"""Engines that other packages bring: found by their entry points, believed after a look.

What is wrong with one is its `problem`: nothing that it does keeps the daemon from starting.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pydantic import TypeAdapter, ValidationError

from orchestrator.config.engine_kind import MODEL_KEYS, SERVICE_KEYS, EngineKind
from orchestrator.config.sections import RuntimeName

GROUP = "vram_orchestrator.engines"


@cache
def brought() -> Mapping[str, EngineKind]:
    """By the names of their entry points. Looked for once: a new package needs a new start."""
    found: dict[str, EngineKind] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in found:
            found[entry.name] = _unusable(entry, "several packages bring an engine of this name")
        else:
            found[entry.name] = _declared(entry)
    return found


def _declared(entry: EntryPoint) -> EngineKind:
    try:
        kind = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever its module does
        return _unusable(entry, f"{type(error).__name__}: {error}")
    if not isinstance(kind, EngineKind):
        return _unusable(entry, f"{entry.value} is no EngineKind")
    try:
        written = {field.name: getattr(kind, field.name) for field in fields(EngineKind)}
        kind = TypeAdapter(EngineKind).validate_python(written)
    except ValidationError as error:
        first = error.errors()[0]
        return _unusable(entry, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    wrong = _contradiction(kind, entry.name)
    return kind if wrong is None else _unusable(entry, wrong)


def _contradiction(kind: EngineKind, name: str) -> str | None:
    if kind.name != name:
        return f"it declares the name {kind.name}"
    if not kind.runtimes:
        return "it goes with no runtime"
    known = {"service_keys": SERVICE_KEYS, "model_keys": MODEL_KEYS}
    for field, keys in known.items():
        if more := sorted(getattr(kind, field) - set(keys)):
            return f"{field} may hold {', '.join(keys)}, not {', '.join(more)}"
    if more := sorted(kind.needs - kind.service_keys - kind.model_keys):
        return f"it needs {', '.join(more)}, which it does not take"
    return None


def _unusable(entry: EntryPoint, why: str) -> EngineKind:
    package = "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    return EngineKind(
        name=entry.name,
        about="",
        maker="",
        runtimes=tuple(RuntimeName),
        problem=f"engine {entry.name} of {package} cannot be used: {why}",
    )
