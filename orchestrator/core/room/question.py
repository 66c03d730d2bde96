"""What is asked of the planner: a wish, and the moment."""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.core.room.eviction import Policy, Stance, Urgency, least_regretted, stance
from orchestrator.core.room.networks import Networks
from orchestrator.core.room.quota import Quota
from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A wish, and everything about the moment that is not in the ledger."""

    spec: ModelSpec
    urgency: Urgency
    rules: Rules
    now_s: float
    ahead_s: float = 0.0  # the wall clock is: for instants that are told in words
    pinned: frozenset[ModelName] = frozenset()
    silent: frozenset[ServiceName] = frozenset()  # whose runtime does not answer: cannot be stopped
    policy: Policy = least_regretted
    # When the leases on a resident will have run out; None: one of them has no end.
    leases_end: Callable[[InstanceId], float | None] = field(default=lambda _: None, compare=False)
    quota: Quota | None = None  # of the key that it would be charged to; None: no bound
    networks: Networks = field(default_factory=dict)  # of which each server has one for itself
    evicts: bool = True  # False: only into room that is free anyway
    # What residents have answered: a plan and its explanation ask them several times.
    _answers: dict[InstanceId, tuple[Resident, Stance]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def stance(self, resident: Resident) -> Stance:
        """What the resident answers to this wish."""
        there, taken = self._answers.get(resident.instance, (None, Stance.UNSETTLED))
        if there is resident:
            return taken
        taken = stance(
            resident,
            self.urgency,
            self.rules,
            self.now_s,
            pinned=resident.name in self.pinned,
            silent=resident.spec.service in self.silent,
        )
        self._answers[resident.instance] = (resident, taken)
        return taken
