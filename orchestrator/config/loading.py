"""One YAML file becomes one frozen Config, once."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.config.allowed import opened
from orchestrator.config.audit import audit_mistakes, settled_audit
from orchestrator.config.audit_section import AuditSettings
from orchestrator.config.commands import OURS, resolved
from orchestrator.config.crossings import (
    alias_mistakes,
    device_mistakes,
    discovery_mistakes,
    network_mistakes,
    shared_mistakes,
    unknown_service,
    unset_mistakes,
)
from orchestrator.config.device_section import DeviceSettings
from orchestrator.config.discovery_section import DiscoverySettings
from orchestrator.config.edge import edge_mistakes, placed_edge
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.config.engines import kind_of, kinds
from orchestrator.config.environment import filled
from orchestrator.config.models import (
    Estimate,
    build_spec,
    declared_only,
    failed_for,
    name_mistake,
)
from orchestrator.config.naming import naming_mistakes
from orchestrator.config.profiles import Profiles, with_own
from orchestrator.config.sections import (
    Document,
    GatewaySettings,
    ModelEntry,
    OnShutdown,
    RuntimeName,
    SchedulingSettings,
    ServerSettings,
    ServiceEntry,
    WebhookSettings,
)
from orchestrator.config.services import Able, home_service, launches_files, service_mistakes
from orchestrator.config.urls import url_mistakes
from orchestrator.config.validation import schema_of, validate
from orchestrator.config.yaml_lines import (
    FILE_BYTES_MAX,
    KeyPath,
    Mistake,
    Written,
    read_yaml,
    show,
)
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.errors import ConfigInvalid

HERE = Path(__file__).parent
DEFAULT_CONFIG = HERE / "default.yaml"  # what `serve` runs without a file: a demonstration
OWN_CONFIG = HERE / "own.yaml"  # or this: the models that there are
EXAMPLE_CONFIG = HERE / "example.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says instead of the file."""

    host: str | None = None
    port: int | None = None
    health_port: int | None = None
    folders: tuple[Path, ...] = ()  # beside those of the file

    def over(self, server: ServerSettings) -> ServerSettings:
        said: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "health_port": self.health_port,
        }
        return replace(server, **{key: value for key, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the operator decided. All paths are absolute."""

    path: Path
    server: ServerSettings
    gateway: GatewaySettings
    edge: EdgeSettings | None  # its dir is set
    webhooks: WebhookSettings
    audit: AuditSettings  # whether it is enabled is decided
    state_dir: Path
    on_shutdown: OnShutdown
    devices: DeviceSettings
    discovery: DiscoverySettings
    scheduling: SchedulingSettings
    services: Mapping[ServiceName, ServiceEntry]
    home: ServiceName | None  # of models that name no service
    profiles: Profiles  # those that ship among them
    models: Mapping[ModelName, ModelEntry]
    catalogue: ModelSpecs

    def service(self, name: str) -> ServiceEntry | None:
        """With all the places that it may read files from."""
        entry = self.services.get(ServiceName(name))
        return entry and opened(entry, self.discovery.folders, self.state_dir)


def load_config(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides = Overrides(),
    estimate: Estimate = declared_only,
    able: Able = launches_files,
    lenient: bool = False,
) -> Config:
    """Read, check and resolve everything. Raise ConfigInvalid with every mistake and its place.

    If `lenient`, a model whose files are not what they should be is no mistake, nor is an engine
    that is not here or cannot be used, as of a package that is not installed: what they keep from
    loading stands in the catalogue as failed. What is written must be right all the same.
    `able` says whether a service can run files on this machine.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 - this is config
    written = read_yaml(_read(path))
    complaints = list(written.mistakes)
    adapter = _document()
    found = validate(adapter, written.content)
    complaints += found.mistakes
    unfilled = found.value or Document()
    complaints += unset_mistakes(unfilled, environ)
    document = _resolved(unfilled, _home(path), environ)
    document, home = _housed(document, overrides.folders, able)
    catalogue, crossed, of_files = _catalogue(document, written, estimate)
    crossed += [*device_mistakes(document.devices), *naming_mistakes(document)]
    crossed += [*discovery_mistakes(document), *url_mistakes(document), *network_mistakes(document)]
    crossed += [*edge_mistakes(document), *audit_mistakes(document.audit, environ)]
    if not lenient:
        crossed += _unusable_engines(document.services)
    complaints += [mistake for mistake in crossed if not found.doubts(mistake.where)]
    if complaints or (of_files and not lenient):
        complaints += [mistake for mistakes in of_files.values() for mistake in mistakes]
        raise ConfigInvalid(tuple(_shown(path, written, complaints)))
    failed = {name: _failed(path, catalogue[name], wrong) for name, wrong in of_files.items()}
    return Config(
        path=path,
        server=overrides.over(document.server),
        gateway=document.gateway,
        edge=document.edge,
        webhooks=document.webhooks,
        audit=settled_audit(document.audit, environ),
        state_dir=Path(document.state_dir),
        on_shutdown=document.on_shutdown,
        devices=document.devices,
        discovery=document.discovery,
        scheduling=document.scheduling,
        services={ServiceName(name): entry for name, entry in document.services.items()},
        home=home,
        profiles=with_own(document.profiles),
        models={ModelName(name): entry for name, entry in document.models.items()},
        catalogue=catalogue | failed,
    )


def configured_model(config: Config, name: ModelName, estimate: Estimate) -> ModelSpec:
    """A model of the file once more, by its files as they are now: as failed, if they are wrong."""
    entry = config.models[name]
    service = config.service(entry.service)
    assert service is not None, "the configuration was right when it was read"
    built = build_spec(name, entry, service, estimate, config.profiles)
    wrong = _under(("models", name), built.mistakes)
    return _failed(config.path, built.draft, wrong) if wrong else built.draft


def _failed(path: Path, draft: ModelSpec, mistakes: Iterable[Mistake]) -> ModelSpec:
    sentences = (f"{path}: {show(mistake.where)}: {mistake.sentence}" for mistake in mistakes)
    remedy = f"Put its files there, or correct {path} and reload."
    return failed_for(draft, sentences, FailureReason.MODEL_FILE, remedy)


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


def config_schema() -> dict[str, object]:
    """The JSON Schema of the file, for editors."""
    schema: dict[str, Any] = json.loads(json.dumps(schema_of(_document())))
    schema["$defs"]["ServiceEntry"]["properties"]["engine"] |= {"enum": list(kinds())}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "VRAM Orchestrator configuration",
        **{key: value for key, value in schema.items() if key != "title"},
    }


@cache
def _document() -> TypeAdapter[Document]:
    return TypeAdapter(Document)


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

    The embedded ones lie inside the package: their paths are relative to the working directory.
    """
    embedded = path.absolute() in (DEFAULT_CONFIG, OWN_CONFIG)
    return Path.cwd() if embedded else path.absolute().parent


def _resolved(document: Document, home: Path, environ: Mapping[str, str]) -> Document:
    def absolute(path: str) -> str:
        return placed(filled(path, environ))

    def placed(path: str) -> str:
        user = environ.get("HOME")
        if user and (path == "~" or path.startswith("~/")):
            path = f"{user}{path[1:]}"
        return str(home / path)

    def fill(text: str) -> str:
        return filled(text, {**environ, **{name: f"${{{name}}}" for name in OURS}})

    def settled(entry: ServiceEntry) -> ServiceEntry:
        binary = entry.binary
        return replace(
            entry,
            models_dir=None if entry.models_dir is None else absolute(entry.models_dir),
            allowed_roots=tuple(absolute(root) for root in entry.allowed_roots),
            # A bare name is looked up on PATH.
            binary=placed(filled(binary, environ))
            if binary and "/" in binary and ours(entry)
            else binary,
            hub_volume=entry.hub_volume and filled(entry.hub_volume, environ),
            command=resolved(entry.command, fill, placed if ours(entry) else str),
            env=tuple(fill(line) for line in entry.env),
        )

    def ours(entry: ServiceEntry | None) -> bool:
        return entry is not None and entry.runtime is not RuntimeName.DOCKER

    def run(entry: ModelEntry) -> ModelEntry:
        if entry.command is None and not entry.env:
            return entry
        place = placed if ours(document.services.get(entry.service)) else str
        return replace(
            entry,
            command=resolved(entry.command, fill, place),
            env=tuple(fill(line) for line in entry.env),
        )

    return replace(
        document,
        edge=document.edge and placed_edge(document.edge, document.state_dir, absolute),
        state_dir=absolute(document.state_dir),
        discovery=replace(
            document.discovery, folders=tuple(map(absolute, document.discovery.folders))
        ),
        services={name: settled(entry) for name, entry in document.services.items()},
        models={name: run(entry) for name, entry in document.models.items()},
    )


def _housed(
    document: Document, folders: Iterable[Path], able: Able
) -> tuple[Document, ServiceName | None]:
    """With the folders of the command line, and a service for every model that names none."""
    discovery, services = document.discovery, document.services
    home = discovery.service or home_service(services, able)
    added = tuple(str(folder.absolute()) for folder in folders)
    together = dict.fromkeys((*discovery.folders, *added))
    housed = replace(
        document,
        discovery=replace(discovery, folders=tuple(together)),
        models={
            name: replace(entry, service=entry.service or home or "")
            for name, entry in document.models.items()
        },
    )
    return housed, None if home is None else ServiceName(home)


def _catalogue(
    document: Document, written: Written, estimate: Estimate
) -> tuple[dict[ModelName, ModelSpec], list[Mistake], dict[ModelName, list[Mistake]]]:
    """The models, what is wrong with what is written, and what with the files of which model."""
    of_files: dict[ModelName, list[Mistake]] = {}
    catalogue: dict[ModelName, ModelSpec] = {}
    mistakes: list[Mistake] = []
    services = written.content.get("services")
    named = services if isinstance(services, dict) else {}
    profiles = with_own(document.profiles)
    mistakes += [
        Mistake(("profiles", name), sentence)
        for name in document.profiles
        if (sentence := name_mistake(name)) is not None
    ]
    for name, service in document.services.items():
        if (sentence := name_mistake(name)) is not None:
            mistakes.append(Mistake(("services", name), sentence))
        mistakes += _under(("services", name), service_mistakes(service))
    for name, entry in document.models.items():
        if (sentence := name_mistake(name)) is not None:
            mistakes.append(Mistake(("models", name), sentence))
        its = document.services.get(entry.service)
        if its is not None:
            service = opened(its, document.discovery.folders, Path(document.state_dir))
            built = build_spec(name, entry, service, estimate, profiles)
            wrong = _under(("models", name), built.mistakes)
            if wrong and built.only_of_files:
                of_files[built.draft.name] = wrong
            else:
                mistakes += wrong
            if not wrong or built.only_of_files:
                catalogue[built.draft.name] = built.draft
        elif entry.service not in named:  # of one that is there and wrong, its mistakes are said
            sentence = unknown_service(entry.service, document.services)
            mistakes.append(Mistake(("models", name, "service"), sentence))
    for name, spec in catalogue.items():
        others = (other for other in catalogue.values() if other.service == spec.service)
        mistakes += _under(
            ("models", name), shared_mistakes(spec, next(others), document.services[spec.service])
        )
    owners = {name: name for name in document.models}
    for name, entry in document.models.items():
        mistakes += _under(("models", name), alias_mistakes(name, entry.aliases, owners))
        owners |= {alias: name for alias in entry.aliases if alias not in owners}
    return catalogue, mistakes, of_files


def _unusable_engines(services: Mapping[str, ServiceEntry]) -> Iterator[Mistake]:
    """A start goes on without them."""
    for name, entry in services.items():
        if (problem := kind_of(entry).problem) is not None:
            yield Mistake(("services", name, "engine"), problem)


def _under(where: KeyPath, mistakes: Iterable[Mistake]) -> list[Mistake]:
    return [Mistake((*where, *mistake.where), mistake.sentence) for mistake in mistakes]


def _shown(path: Path, written: Written, mistakes: Iterable[Mistake]) -> Iterator[str]:
    """In the order of the file."""
    placed = [(mistake.line or written.line(mistake.where), mistake) for mistake in mistakes]
    for line, mistake in sorted(placed, key=lambda at: (at[0], show(at[1].where))):
        where = f" {show(mistake.where)}:" if mistake.where else ""
        yield f"{path}:{line}:{where} {mistake.sentence}"
