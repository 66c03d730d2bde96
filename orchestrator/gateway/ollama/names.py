"""What Ollama's clients call a model, and what the catalogue calls it.

Ollama gives every name a tag and takes `:latest` where none is said. Open WebUI adds it to a name
without one and looks that up in the list it was given: so lists carry it, and it means nothing.
"""

from collections.abc import Iterator

from orchestrator.core.values.specs import ModelName, ModelSpecs
from orchestrator.gateway.naming import LATEST

HUB_HOSTS = ("https://", "hf.co/", "huggingface.co/")  # in front of ORG/REPO, as Ollama takes it


def tagged(name: str) -> str:
    """As a list shows it."""
    return name if ":" in name else f"{name}{LATEST}"


def hub_reference(name: str) -> str | None:
    """ORG/REPO with what follows it, if the name is one of a model hub."""
    bare = name.removesuffix(LATEST)
    for host in HUB_HOSTS:
        bare = bare.removeprefix(host)
    return bare if "/" in bare else None


def meant(name: str, specs: ModelSpecs) -> str:
    """The catalogue's own name of the model; where it has none, the name without `:latest`."""
    wanted = tuple(_spellings(name))
    for spelling in wanted:
        if ModelName(spelling) in specs:
            return spelling
    reference = hub_reference(name)
    for spec in specs.values():
        if not set(wanted).isdisjoint(spec.aliases):
            return spec.name
        if reference is not None and spec.hub == reference:
            return spec.name
    return name.removesuffix(LATEST)


def _spellings(name: str) -> Iterator[str]:
    yield name
    if name.endswith(LATEST):
        yield name.removesuffix(LATEST)
    elif ":" not in name:
        yield name + LATEST
