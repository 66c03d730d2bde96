"""Which models a request may be served by: by the name that it has for its model, or has not."""

from collections import OrderedDict
from collections.abc import Mapping

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.ordered import named
from orchestrator.config.naming import TASK
from orchestrator.config.sections import GatewaySettings
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs
from orchestrator.errors import Denied

LATEST = ":latest"  # what Ollama's clients put behind a name
OTHERWISE = "default"  # of the tasks: those that are not listed
NAMED_BEHIND = "::"
KEPT_MAX = 10_000  # answers and conversations whose models are remembered


def candidates(
    name: str | None, gateway: GatewaySettings, specs: ModelSpecs
) -> tuple[ModelSpec, ...]:
    """The best first; more than one only of a chain. Raise Denied where there is none."""
    name = _meant(name, gateway, specs)
    if name.endswith(LATEST) and not _is_known(name, gateway, specs):
        name = name.removesuffix(LATEST)
    chain = gateway.chains.get(name)
    if chain is not None:
        there = [member for member in chain if _is_known(member, gateway, specs)]
        return tuple(named(member, specs) for member in there or chain)
    return (named(name, specs),)


def _meant(name: str | None, gateway: GatewaySettings, specs: ModelSpecs) -> str:
    if name is None:
        if gateway.default_model is not None:
            return gateway.default_model
        if len(specs) == 1:
            return next(iter(specs))
        raise Denied(_nameless())
    if not name.startswith(TASK):
        return name
    task = name.removeprefix(TASK).removesuffix(LATEST)
    meant = gateway.tasks.get(task) or gateway.tasks.get(OTHERWISE)
    if meant is None:
        raise Denied(_unknown_task(task, gateway.tasks))
    return meant


def _is_known(name: str, gateway: GatewaySettings, specs: ModelSpecs) -> bool:
    return (
        name in gateway.chains
        or ModelName(name) in specs
        or any(name in spec.aliases for spec in specs.values())
    )


def _nameless() -> Refusal:
    return Refusal(
        code=RefusalCode.UNKNOWN_MODEL,
        detail="The request names no model, and there is no gateway.default_model.",
        remedy='Name one: "model": "…"; GET /v1/models lists them.',
    )


def _unknown_task(task: str, tasks: Mapping[str, str]) -> Refusal:
    known = ", ".join(f"{TASK}{name}" for name in tasks) or "none"
    return Refusal(
        code=RefusalCode.UNKNOWN_MODEL,
        detail=f"There is no task {task!r} in gateway.tasks.",
        remedy=f"Tasks that are there: {known}. A `default` there would serve all others.",
    )


class Makers:
    """Which model made an answer or leads a conversation, and for which key: for those that ask on
    with its id.

    The newest ones only. What they said is kept nowhere.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[ModelName, str | None]] = OrderedDict()

    def note(self, id_: str, model: ModelName, rights: Rights = EVERYTHING) -> None:
        self._made[id_] = model, rights.id
        self._made.move_to_end(id_)
        if len(self._made) > KEPT_MAX:
            self._made.popitem(last=False)

    def of(self, id_: str) -> ModelName | None:
        """Some clients put the model's name behind a conversation's, to have it found."""
        conversation, _, model = id_.rpartition(NAMED_BEHIND)
        made = self._made.get(id_)
        return made[0] if made is not None else ModelName(model) if conversation else None

    def is_anothers(self, id_: str, rights: Rights) -> bool:
        """Whether it was made for another key, as far as is remembered."""
        made = self._made.get(id_)
        return made is not None and not rights.owns(made[1])
