"""Mistakes that show only where keys are held against each other, or against the environment."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from orchestrator.config.commands import unset_variables
from orchestrator.config.device_section import DeviceSettings, DeviceSource
from orchestrator.config.environment import unset
from orchestrator.config.sections import Document, ServiceEntry
from orchestrator.config.services import launches_files
from orchestrator.config.validation import nearest, shown
from orchestrator.config.yaml_lines import KeyPath, Mistake
from orchestrator.core.values.specs import ModelSpec


def discovery_mistakes(document: Document) -> Iterator[Mistake]:
    service, services = document.discovery.service, document.services
    if service is None:
        return
    if service not in services:
        yield Mistake(("discovery", "service"), unknown_service(service, services))
    elif not launches_files(services[service]):
        yield Mistake(("discovery", "service"), f"{service} runs no GGUF files")


def unset_mistakes(document: Document, environ: Mapping[str, str]) -> Iterator[Mistake]:
    paths: list[tuple[KeyPath, str | None]] = [(("state_dir",), document.state_dir)]
    paths.append((("edge", "dir"), document.edge.dir if document.edge else None))
    folders = enumerate(document.discovery.folders)
    paths += [(("discovery", "folders", index), folder) for index, folder in folders]
    for name, entry in document.services.items():
        here = ("services", name)
        keys = ("models_dir", "binary", "hub_volume")
        paths += [((*here, key), getattr(entry, key)) for key in keys]
        roots = enumerate(entry.allowed_roots)
        paths += [((*here, "allowed_roots", index), root) for index, root in roots]
    for where, path in paths:
        for variable in unset(path or "", environ):
            yield Mistake(where, f"the environment has no {variable}: set it, or write the path")
    for section in ("services", "models"):
        for name, entry in getattr(document, section).items():
            here = (section, name)
            yield from unset_variables(
                here, entry.command, entry.env, partial(unset, environ=environ)
            )


def network_mistakes(document: Document) -> Iterator[Mistake]:
    """Who shares some of them would take one that the other counts as its own."""
    pools: dict[frozenset[str], str] = {}
    for name, entry in document.services.items():
        pool = frozenset(entry.networks)
        for other, first in pools.items():
            if pool != other and (both := sorted(pool & other)):
                sentence = f"shares {both[0]} with service {first}, and not all: name the same ones"
                yield Mistake(("services", name, "networks"), f"{sentence}, or none of them")
        pools.setdefault(pool, name)


def shared_mistakes(spec: ModelSpec, first: ModelSpec, service: ServiceEntry) -> Iterator[Mistake]:
    """`first` is the first model of that service."""
    if service.container is not None and first.name != spec.name:
        sentence = f"{spec.service} is the one container {service.container}, which is {first.name}"
        yield Mistake(("service",), f"{sentence}: give each model a service of its own")


def alias_mistakes(
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


def device_mistakes(devices: DeviceSettings) -> Iterator[Mistake]:
    is_fake = devices.source is DeviceSource.FAKE
    if is_fake and not devices.fake:
        sentence = "needs at least one device with source: fake, such as {name: A, total_mb: 8192}"
        yield Mistake(("devices", "fake"), sentence)
    if devices.fake and not is_fake:
        yield Mistake(("devices", "fake"), "is only for source: fake")


def unknown_service(name: str, services: Iterable[str]) -> str:
    known = sorted(services)
    if not name:
        listed = ", ".join(known) or "none yet"
        return f"is required: no service here runs what names none; there are {listed}"
    guess = nearest(name, known)
    if guess or not known:
        return f"{shown(name)} is not a service of this configuration{guess}"
    return f"{shown(name)} is not a service of this configuration; it has {', '.join(known)}"
