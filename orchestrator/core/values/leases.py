"""A lease is a promise that a resident stays while someone uses it. It expires."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket

LeaseId = NewType("LeaseId", str)


class LeaseKind(StrEnum):
    REQUEST = "request"  # lives as long as one HTTP request
    OWNER = "owner"  # a workflow's: renewed, released or expired
    ROOM = "room"  # of plain VRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    id: LeaseId
    ticket: Ticket  # whose grant it came with
    instance: InstanceId
    model: ModelName
    kind: LeaseKind
    owner: str | None
    priority: int
    granted_s: float
    expires_s: float | None  # None: ends only by release
    key: str | None = None  # of the API key that it is charged to


class LeaseEnds:
    """Tells when all leases on a life will have run out, unless they are renewed; None: not known.

    They are gone through once, when it is first asked: it is of one decision.
    """

    def __init__(self, leases: Iterable[Lease]) -> None:
        self._leases = leases
        self._ends: dict[InstanceId, float] | None = None  # infinite: one of them has no end

    def __call__(self, instance: InstanceId) -> float | None:
        if self._ends is None:
            self._ends = {}
            for lease in self._leases:
                end_s = math.inf if lease.expires_s is None else lease.expires_s
                self._ends[lease.instance] = max(end_s, self._ends.get(lease.instance, end_s))
        end_s = self._ends.get(instance, math.inf)
        return None if math.isinf(end_s) else end_s
