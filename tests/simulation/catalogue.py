"""The models and the rules of a day, and how its operator changes them."""

import random
from dataclasses import dataclass, field, replace

from orchestrator.config.sections import SchedulingSettings
from orchestrator.core.room.networks import Networks
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.messages import CatalogueChanged, RulesChanged
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import (
    Degrading,
    Fallback,
    ModelName,
    ModelSpec,
    ServiceName,
    Serving,
)
from orchestrator.core.values.vram import GiB
from tests.factories import spec

MODELS = "abcdef"
# Of the API keys that have some; an owner's key is called like the owner. That of owner-2 was made
# with that of owner-1.
_FIRST = KeyBound(30 * GiB, frozenset({"owner-1", "owner-2"}))
BOUNDS = {"owner-1": (_FIRST,), "owner-2": (KeyBound(12 * GiB, frozenset({"owner-2"})), _FIRST)}
SPARE = "gh"  # come by PUT
HURRIED = Rules(
    patience_s=30,
    patience_loads=2,
    min_residency_s=5,
    drain_timeout_s=60,
    protect_idle_s=60,
    release_timeout_s=5,
    quiet_s=0,
    restart_hung_s=20,
)
SHIPPED = SchedulingSettings().rules


def networks_of(seed: int) -> Networks:
    """On some days servers have networks of their own: too few for all of their models. No dice:
    the days are those that they were.
    """
    match seed % 4:
        case 1:
            return {ServiceName("annex"): frozenset({"n1", "n2"})}
        case 3:
            shared = frozenset({"n1", "n2", "n3"})
            return {ServiceName("rehearsal"): shared, ServiceName("annex"): shared}
        case _:
            return {}


@dataclass
class Catalogue:
    rng: random.Random
    networks: Networks = field(default_factory=dict)
    services: tuple[ServiceName, ...] = (ServiceName("rehearsal"), ServiceName("annex"))
    rules: Rules = SHIPPED
    headroom_bytes: int = GiB // 4
    budget_bytes: dict[str, int] | None = None
    specs: dict[ModelName, ModelSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = self._rules()
        self.specs = {ModelName(name): self.draw(name) for name in MODELS}

    @property
    def rules_changed(self) -> RulesChanged:
        return RulesChanged(
            rules=self.rules, headroom_bytes=self.headroom_bytes, budget_bytes=self.budget_bytes
        )

    def draw(self, name: str) -> ModelSpec:
        rng = self.rng
        drawn = spec(
            name,
            gib=rng.randint(2, 25),
            host_gib=rng.choice([0, 0, 3]),
            priority=rng.randint(3, 7),
            devices=rng.choice([(), (), (), ("g0",), ("host",)]),
            span=rng.choice([1, 1, 1, 2]),
            ttl_s=rng.choice([None, None, 30]),
            load_s=rng.choice([3, 10]),
        )
        drawn = replace(
            drawn,
            # No dice of its own: the days are those that they were.
            keep_loaded=drawn.ttl_s is None and drawn.load_s == 3,
            service=rng.choice((*self.services[:1] * 2, *self.services[1:])),
            pinned=rng.random() < 0.05,
        )
        if rng.random() < 0.25:
            drawn = replace(drawn, hub=f"org/{name}", auto_download=True, supplied=True)
            if rng.random() < 0.5:
                drawn = replace(drawn, footprint=UNKNOWN)
        if rng.random() < 0.4:
            drawn = degrading(drawn)
        return drawn

    # --- changes, as PUT, DELETE and reload make them --------------------------------------------

    def put(self, name: ModelName) -> CatalogueChanged:
        return self._with({**self.specs, name: self.draw(name)})

    def delete(self, name: ModelName) -> CatalogueChanged:
        return self._with({key: one for key, one in self.specs.items() if key != name})

    def reload(self) -> tuple[RulesChanged, CatalogueChanged]:
        """Other numbers; some models changed, with other pins; now and then one taken out."""
        rng = self.rng
        if rng.random() < 0.5:
            self.rules = self._rules()
        self.headroom_bytes = rng.choice([0, GiB // 4, GiB])
        self.budget_bytes = rng.choice([None, None, {"g0": 20 * GiB}])
        specs = dict(self.specs)
        for name in list(specs):
            chance = rng.random()
            if chance < 0.05 and len(specs) > 2:
                del specs[name]
            elif chance < 0.15:
                specs[name] = self.draw(name)
            elif chance < 0.3:
                specs[name] = replace(specs[name], pinned=not specs[name].pinned)
        for name in map(ModelName, MODELS):
            if name not in specs and rng.random() < 0.7:
                specs[name] = self.draw(name)
        return self.rules_changed, self._with(specs)

    def found(self, found: ModelSpec) -> None:
        """What was brought is here from now on."""
        known = self.specs.get(found.name)
        if known is not None and known.hub == found.hub and known.hub is not None:
            footprint = found.footprint if known.footprint.unknown else known.footprint
            here = replace(known, file=found.file, footprint=footprint)
            self.specs = {**self.specs, found.name: here}

    def _with(self, specs: dict[ModelName, ModelSpec]) -> CatalogueChanged:
        self.specs = specs
        return CatalogueChanged(specs)

    def _rules(self) -> Rules:
        rng = self.rng
        rules = rng.choice([SHIPPED, HURRIED, HURRIED])
        return replace(
            rules,
            queue_length_max=rng.choice([1000, 1000, 12]),
            restore_victims=rng.random() < 0.8,
            cancel_abandoned=rng.random() < 0.3,
        )


def longer(wanted: ModelSpec, context_size: int) -> ModelSpec:
    """The same model with another context: what an order with settings of its own resolves to."""
    footprint = wanted.footprint
    if not footprint.unknown:
        footprint = footprint.grown((context_size - wanted.serving.context_size) * 100_000)
    serving = replace(wanted.serving, context_size=context_size)
    return replace(wanted, serving=serving, footprint=footprint, fallbacks=(), predicted=None)


def degrading(wanted: ModelSpec) -> ModelSpec:
    steps = []
    for part in (2, 4):
        serving = Serving(context_size=wanted.serving.context_size // part)
        footprint = Footprint(
            device_bytes=wanted.footprint.device_bytes * (part + 1) // (2 * part),
            host_bytes=wanted.footprint.host_bytes,
        )
        given_up = (f"context {serving.context_size}",)
        steps.append(Fallback(serving=serving, footprint=footprint, given_up=given_up))
    return replace(wanted, degrade=(Degrading.CONTEXT_SIZE,), fallbacks=tuple(steps))
