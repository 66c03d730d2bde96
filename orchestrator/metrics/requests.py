"""Requests of clients that have ended, whoever carried them."""

from collections.abc import Callable, Collection

from orchestrator.core.values.specs import ModelName
from orchestrator.desk.activity import Run
from orchestrator.metrics.families import UNKNOWN_MODEL, Families
from orchestrator.records import Outcome

_BY_OUTCOME = {
    Outcome.REFUSED: "refused",
    Outcome.CLIENT_GONE: "client_gone",
    Outcome.SERVER_DIED: "error",
    Outcome.FAILED: "error",
    Outcome.ENDED: "ended",
}


class RequestCounting:
    def __init__(self, families: Families, models: Callable[[], Collection[ModelName]]) -> None:
        self._count = families
        self._models = models

    def ended(self, run: Run) -> None:
        """A warm request passes here: it costs some microseconds."""
        model = self._named(run)
        self._count.requests.labels(model, status_of(run)).inc()
        if run.ended_s is not None:
            duration_s = max(0.0, run.ended_s - run.began_s)
            self._count.request_duration.labels(model).observe(duration_s)
        if run.first_byte_s is not None:
            first_byte_s = max(0.0, run.first_byte_s - run.began_s)
            self._count.first_byte.labels(model).observe(first_byte_s)

    def passed_over(self, count: int) -> None:
        """So many more have ended, of which nothing is known."""
        self._count.unfigured.inc(count)

    def _named(self, run: Run) -> str:
        """What a client made up is no label."""
        if run.model is not None:
            return run.model
        asked = ModelName(run.asked)
        return asked if asked in self._models() else UNKNOWN_MODEL


def status_of(run: Run) -> str:
    if run.outcome is not None and run.outcome in _BY_OUTCOME:
        return _BY_OUTCOME[run.outcome]
    status = run.status or 0
    if status >= 500:
        return "error"
    return "rejected" if status >= 400 else "success"
