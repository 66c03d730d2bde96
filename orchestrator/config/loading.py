"""One YAML file becomes one frozen Config, once."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from orchestrator.config.environment import filled, unset
from orchestrator.config.models import (
    Estimate,
    build_spec,
    declared_only,
    name_mistake,
    service_mistakes,
)
from orchestrator.config.sections import (
    DeviceSettings,
    DeviceSource,
    Document,
    ModelEntry,
    OnShutdown,
    SchedulingSettings,
    ServerSettings,
    ServiceEntry,
)
from orchestrator.config.validation import (
    Schema,
    nearest,
    properties_at,
    schema_of,
    shown,
    validate,
)
from orchestrator.config.yaml_lines import (
    FILE_BYTES_MAX,
    KeyPath,
    Mistake,
    Plain,
    Written,
    read_yaml,
    show,
)
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.errors import ConfigInvalid

ONLY_IN_FILE = ("url", "auto_download")  # of a model: not for a caller of the API to say
HERE = Path(__file__).parent
DEFAULT_CONFIG = HERE / "default.yaml"  # what `serve` runs without a file
EXAMPLE_CONFIG = HERE / "example.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says instead of the file."""

    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the operator decided. All paths are absolute."""

    path: Path
    server: ServerSettings
    state_dir: Path
    on_shutdown: OnShutdown
    devices: DeviceSettings
    scheduling: SchedulingSettings
    services: Mapping[ServiceName, ServiceEntry]
    models: Mapping[ModelName, ModelEntry]
    catalogue: ModelSpecs


def load_config(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides = Overrides(),
    estimate: Estimate = declared_only,
) -> Config:
    """Read, check and resolve everything. Raise ConfigInvalid with every mistake and its place."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - this is config
    written = read_yaml(_read(path))
    complaints = list(written.mistakes)
    adapter = _document()
    found = validate(adapter, written.content)
    complaints += found.mistakes
    unfilled = found.value or Document()
    complaints += _unset_mistakes(unfilled, environ)
    document = _resolved(unfilled, _home(path), environ)
    catalogue, crossed = _catalogue(document, written, estimate)
    crossed += [*_device_mistakes(document.devices)]
    complaints += [mistake for mistake in crossed if not found.doubts(mistake.where)]
    if complaints:
        raise ConfigInvalid(tuple(_shown(path, written, complaints)))
    server = document.server
    return Config(
        path=path,
        server=replace(
            server,
            host=server.host if overrides.host is None else overrides.host,
            port=server.port if overrides.port is None else overrides.port,
        ),
        state_dir=Path(document.state_dir),
        on_shutdown=document.on_shutdown,
        devices=document.devices,
        scheduling=document.scheduling,
        services={ServiceName(name): entry for name, entry in document.services.items()},
        models={ModelName(name): entry for name, entry in document.models.items()},
        catalogue=catalogue,
    )


def load_services(
    path: Path, *, environ: Mapping[str, str] | None = None
) -> Mapping[str, ServiceEntry]:
    """The services alone; none of a file with mistakes, which `load_config` names."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - this is config
    try:
        written = read_yaml(_read(path))
    except ConfigInvalid:
        return {}
    document = validate(_document(), written.content).value
    return {} if document is None else _resolved(document, _home(path), environ).services


def parse_model(
    config: Config,
    name: str,
    body: Mapping[str, object],
    *,
    taken: ModelSpecs | None = None,
    estimate: Estimate = declared_only,
) -> ModelSpec:
    """One model that a caller of the API sent. Raise ConfigInvalid with every mistake.

    `taken` is the models that it joins (one of its name is replaced); the config's if None.
    A caller chooses among the services and the files under their roots, nothing beyond: no image,
    command, environment or address of a server.
    """
    found = validate(_model(), _numbers_from_text(body))
    complaints = list(found.mistakes)
    entry = found.value
    owners = _owners(config.catalogue if taken is None else taken, name)
    if (sentence := name_mistake(name)) is not None:
        complaints.append(Mistake(("name",), sentence))
    elif name in owners:
        sentence = f"{name} is already an alias of model {owners[name]}"
        complaints.append(Mistake(("name",), sentence))
    spec = None
    if entry is not None:
        crossed = list(_alias_mistakes(name, entry.aliases, owners))
        only_in_file = (key for key in ONLY_IN_FILE if body.get(key))
        crossed += [
            Mistake((key,), "can only be set in the configuration file") for key in only_in_file
        ]
        service = config.services.get(ServiceName(entry.service))
        if service is None:
            crossed.append(Mistake(("service",), _unknown_service(entry.service, config.services)))
        else:
            built = build_spec(name, entry, service, estimate)
            spec = built.spec
            said = {mistake.where for mistake in crossed}
            crossed += [mistake for mistake in built.mistakes if mistake.where not in said]
            if spec is not None:
                there = config.catalogue if taken is None else taken
                same = (other for other in there.values() if other.service == spec.service)
                crossed += _shared_mistakes(spec, next(same, spec), service)
        complaints += [mistake for mistake in crossed if not found.doubts(mistake.where)]
    if complaints or spec is None:
        raise ConfigInvalid(tuple(f"{show(wrong.where)}: {wrong.sentence}" for wrong in complaints))
    return spec


def config_schema() -> dict[str, object]:
    """The JSON Schema of the file, for editors."""
    schema = schema_of(_document())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "VRAM Orchestrator configuration",
        **{key: value for key, value in schema.items() if key != "title"},
    }


@cache
def _document() -> TypeAdapter[Document]:
    return TypeAdapter(Document)


@cache
def _model() -> TypeAdapter[ModelEntry]:
    return TypeAdapter(ModelEntry)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        remedy = "`orchestrator config example` prints one to begin with"
        raise ConfigInvalid((f"{path}: there is no such file; {remedy}",)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigInvalid((f"{path}: cannot be read: {reason}",)) from error


def _home(path: Path) -> Path:
    """What relative paths are relative to: the file's folder.

    The embedded default lies inside the package: its paths are relative to the working directory.
    """
    return Path.cwd() if path.absolute() == DEFAULT_CONFIG else path.absolute().parent


def _resolved(document: Document, home: Path, environ: Mapping[str, str]) -> Document:
    def absolute(path: str) -> str:
        path = filled(path, environ)
        user = environ.get("HOME")
        if user and (path == "~" or path.startswith("~/")):
            path = f"{user}{path[1:]}"
        return str(home / path)

    def settled(entry: ServiceEntry) -> ServiceEntry:
        binary = entry.binary
        return replace(
            entry,
            models_dir=None if entry.models_dir is None else absolute(entry.models_dir),
            allowed_roots=tuple(absolute(root) for root in entry.allowed_roots),
            # A bare name is looked up on PATH.
            binary=absolute(binary) if binary is not None and "/" in binary else binary,
            hub_volume=entry.hub_volume and filled(entry.hub_volume, environ),
        )

    return replace(
        document,
        state_dir=absolute(document.state_dir),
        services={name: settled(entry) for name, entry in document.services.items()},
    )


def _unset_mistakes(document: Document, environ: Mapping[str, str]) -> Iterator[Mistake]:
    paths: list[tuple[KeyPath, str | None]] = [(("state_dir",), document.state_dir)]
    for name, entry in document.services.items():
        here = ("services", name)
        keys = ("models_dir", "binary", "hub_volume")
        paths += [((*here, key), getattr(entry, key)) for key in keys]
        roots = enumerate(entry.allowed_roots)
        paths += [((*here, "allowed_roots", index), root) for index, root in roots]
    for where, path in paths:
        for variable in unset(path or "", environ):
            yield Mistake(where, f"the environment has no {variable}: set it, or write the path")


def _catalogue(
    document: Document, written: Written, estimate: Estimate
) -> tuple[dict[ModelName, ModelSpec], list[Mistake]]:
    catalogue: dict[ModelName, ModelSpec] = {}
    mistakes: list[Mistake] = []
    services = written.content.get("services")
    named = services if isinstance(services, dict) else {}
    for name, service in document.services.items():
        if (sentence := name_mistake(name)) is not None:
            mistakes.append(Mistake(("services", name), sentence))
        mistakes += _under(("services", name), service_mistakes(service))
    for name, entry in document.models.items():
        if (sentence := name_mistake(name)) is not None:
            mistakes.append(Mistake(("models", name), sentence))
        if entry.service in document.services:
            built = build_spec(name, entry, document.services[entry.service], estimate)
            mistakes += _under(("models", name), built.mistakes)
            if built.spec is not None:
                catalogue[built.spec.name] = built.spec
        elif entry.service not in named:  # of one that is there and wrong, its mistakes are said
            sentence = _unknown_service(entry.service, document.services)
            mistakes.append(Mistake(("models", name, "service"), sentence))
    for name, spec in catalogue.items():
        others = (other for other in catalogue.values() if other.service == spec.service)
        mistakes += _under(
            ("models", name), _shared_mistakes(spec, next(others), document.services[spec.service])
        )
    owners = {name: name for name in document.models}
    for name, entry in document.models.items():
        mistakes += _under(("models", name), _alias_mistakes(name, entry.aliases, owners))
        owners |= {alias: name for alias in entry.aliases if alias not in owners}
    return catalogue, mistakes


def _shared_mistakes(spec: ModelSpec, first: ModelSpec, service: ServiceEntry) -> Iterator[Mistake]:
    """`first` is the first model of that service."""
    if service.container is not None and first.name != spec.name:
        sentence = f"{spec.service} is the one container {service.container}, which is {first.name}"
        yield Mistake(("service",), f"{sentence}: give each model a service of its own")


def _alias_mistakes(
    name: str, aliases: tuple[str, ...], owners: Mapping[str, str]
) -> Iterator[Mistake]:
    """`owners` says which model a name or an alias leads to already."""
    for index, alias in enumerate(aliases):
        if alias == name:
            yield Mistake(("aliases", index), "is the model's own name: remove it")
        elif alias in aliases[:index]:
            yield Mistake(("aliases", index), f"{alias} is here twice")
        elif alias in owners:
            what = "the name" if owners[alias] == alias else "an alias"
            sentence = f"{alias} is already {what} of model {owners[alias]}"
            yield Mistake(("aliases", index), sentence)


def _owners(catalogue: ModelSpecs, name: str) -> dict[str, str]:
    """Which model a name or an alias leads to; without those of the model called `name`."""
    others = [spec for spec in catalogue.values() if spec.name != name]
    return {word: spec.name for spec in others for word in (*spec.aliases, spec.name)}


def _device_mistakes(devices: DeviceSettings) -> Iterator[Mistake]:
    is_fake = devices.source is DeviceSource.FAKE
    if is_fake and not devices.fake:
        sentence = "needs at least one device with source: fake, such as {name: A, total_mb: 8192}"
        yield Mistake(("devices", "fake"), sentence)
    if devices.fake and not is_fake:
        yield Mistake(("devices", "fake"), "is only for source: fake")


def _unknown_service(name: str, services: Iterable[str]) -> str:
    known = sorted(services)
    guess = nearest(name, known)
    if guess or not known:
        return f"{shown(name)} is not a service of this configuration{guess}"
    return f"{shown(name)} is not a service of this configuration; it has {', '.join(known)}"


def _under(where: KeyPath, mistakes: Iterable[Mistake]) -> list[Mistake]:
    return [Mistake((*where, *mistake.where), mistake.sentence) for mistake in mistakes]


def _shown(path: Path, written: Written, mistakes: Iterable[Mistake]) -> Iterator[str]:
    """In the order of the file."""
    placed = [(mistake.line or written.line(mistake.where), mistake) for mistake in mistakes]
    for line, mistake in sorted(placed, key=lambda at: (at[0], show(at[1].where))):
        where = f" {show(mistake.where)}:" if mistake.where else ""
        yield f"{path}:{line}:{where} {mistake.sentence}"


def _numbers_from_text(body: Mapping[str, object]) -> dict[str, Plain]:
    """Workflow expressions turn numbers into text; where a number is meant, it is one again."""
    properties = properties_at(schema_of(_model()), ())
    return {
        key: _number(value)
        if isinstance(value, str) and _is_number(properties.get(key))
        else cast("Plain", value)  # what a JSON parser makes
        for key, value in body.items()
    }


def _is_number(schema: Schema | None) -> bool:
    choices = (schema or {}).get("anyOf", schema)
    listed = choices if isinstance(choices, list) else [choices]
    types = {choice.get("type") for choice in listed if isinstance(choice, Mapping)}
    return bool(types & {"integer", "number"}) and "string" not in types


def _number(text: str) -> Plain:
    try:
        return int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    except ValueError:  # not a number, or one of too many digits: the validation says so of text
        return text
