"""Which decisions a page holds and which ones are kept: one rule for every registry."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.core.values.specs import ModelName
from orchestrator.ports import DecisionRecord

# Beside their age. At one load a minute a week; an operation takes about 200 bytes.
FINISHED_OPERATIONS_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Newest first, unless `after_id` is given: then the oldest after it first."""

    before_id: int | None = None
    after_id: int | None = None
    model: ModelName | None = None
    limit: int

    @property
    def forwards(self) -> bool:
        return self.after_id is not None

    def holds(self, record: DecisionRecord) -> bool:
        return (
            (self.before_id is None or record.id < self.before_id)
            and (self.after_id is None or record.id > self.after_id)
            and (self.model is None or record.decision.model == self.model)
        )

    def of(self, records: Iterable[DecisionRecord]) -> tuple[DecisionRecord, ...]:
        ordered = sorted(
            (record for record in records if self.holds(record)),
            key=lambda record: record.id,
            reverse=not self.forwards,
        )
        return tuple(ordered[: max(self.limit, 0)])
