"""A lease is a promise that a resident stays while someone uses it. It expires."""

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
