"""What requests may call a model beside its name: checked here, resolved by the gateway."""

from collections.abc import Iterator

from orchestrator.config.models import name_mistake
from orchestrator.config.sections import Document
from orchestrator.config.validation import nearest, shown
from orchestrator.config.yaml_lines import KeyPath, Mistake

TASK = "task:"  # in front of a kind of work, where a model's name is expected
CHAIN_MODELS_MAX = 16  # of one chain: all may be planned for one request


def naming_mistakes(document: Document) -> Iterator[Mistake]:
    """What does not go together in `gateway`, and with the names of models.

    Where models are found among files, a name that is not written down may be one of them.
    """
    gateway = document.gateway
    models = {*document.models, *(a for m in document.models.values() for a in m.aliases)}
    known = {*models, *gateway.chains}
    if document.discovery.on:
        known |= {gateway.default_model or "", *gateway.tasks.values()}
    if gateway.default_model is not None:
        yield from _unknown(gateway.default_model, known, "default_model")
    for task, name in gateway.tasks.items():
        yield from _unknown(name, known, "tasks", task)
    for chain, members in gateway.chains.items():
        if (sentence := name_mistake(chain)) is not None:
            yield Mistake(("gateway", "chains", chain), sentence)
        elif chain in models:
            yield Mistake(("gateway", "chains", chain), "is the name or an alias of a model")
        if not 1 <= len(members) <= CHAIN_MODELS_MAX:
            sentence = f"needs 1 to {CHAIN_MODELS_MAX} models, the best first"
            yield Mistake(("gateway", "chains", chain), sentence)
        for index, name in enumerate(members):
            if name in gateway.chains or not document.discovery.on:
                yield from _unknown(name, models, "chains", chain, index)


def _unknown(name: str, known: set[str], *where: str | int) -> Iterator[Mistake]:
    if name not in known:
        place: KeyPath = ("gateway", *where)
        yield Mistake(place, f"{shown(name)} is no model here{nearest(name, sorted(known))}")
