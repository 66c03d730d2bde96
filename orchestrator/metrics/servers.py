"""What model servers say of themselves, for each model and across its reloads.

A server begins at 0 whenever its model is loaded; what it has counted is added to what its
predecessors had. The figures come with the looks at use: nothing is asked for them.
"""

import re
import threading
from collections.abc import Collection, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orchestrator.core.values.residents import InstanceId, Resident
from orchestrator.core.values.specs import ModelName
from orchestrator.metrics.families import SERVERS
from orchestrator.ports import Clock

NAMES_MAX = 64  # of one server: llama.cpp has about fifteen
TOTAL = "_total"
# Those that dashboards read; at 0 for every model, whether it was ever loaded or not.
WRITTEN = "tokens_predicted_total"
ALWAYS = ("prompt_tokens_total", "prompt_seconds_total", WRITTEN, "tokens_predicted_seconds_total")
ALSO_CALLED = {WRITTEN: "tokens_generated_total"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Figures = Mapping[str, float]


class ServerCounting:
    """Told in the loop, read in any thread."""

    def __init__(self, clock: Clock) -> None:
        self._began_s = clock()
        self._last: dict[InstanceId, Figures] = {}
        self._totals: dict[tuple[str, ModelName], float] = {}
        self._gauges: dict[InstanceId, tuple[ModelName, Figures]] = {}
        self._errors: dict[ModelName, int] = {}
        self._lock = threading.Lock()

    def heard(self, resident: Resident, figures: Figures | None) -> None:
        """None: its server did not say, though it can."""
        with self._lock:
            if figures is None:
                self._errors[resident.name] = self._errors.get(resident.name, 0) + 1
            elif figures:
                self._take(resident, _sound(figures))

    def _take(self, resident: Resident, figures: Figures) -> None:
        ours = resident.ready_s is not None and resident.ready_s >= self._began_s
        # What an adopted server has counted before our time was counted then.
        before = self._last.get(resident.instance, {} if ours else figures)
        self._last[resident.instance] = figures
        for name, value in figures.items():
            if name.endswith(TOTAL):
                last = before.get(name, 0.0)
                more = value - last if value >= last else value
                key = (name, resident.name)
                self._totals[key] = self._totals.get(key, 0.0) + more
        gauges = {name: value for name, value in figures.items() if not name.endswith(TOTAL)}
        self._gauges[resident.instance] = resident.name, gauges

    def families(
        self, models: Collection[ModelName], here: Collection[InstanceId]
    ) -> Iterator[Metric]:
        """Gauges only of those that are `here`; the others are forgotten."""
        with self._lock:
            for gone in self._last.keys() - set(here):
                self._last.pop(gone, None)
                self._gauges.pop(gone, None)
            totals, gauges = dict(self._totals), list(self._gauges.values())
            errors = dict(self._errors)
        yield from _counters(totals, models)
        yield from _gauges(gauges)
        failed = CounterMetricFamily(
            f"{SERVERS}_scrape_errors",
            "Looks at a model's server that had no answer.",
            labels=["model"],
        )
        for model in {*models, *errors}:
            failed.add_metric([model], errors.get(model, 0))
        yield failed


def _sound(figures: Figures) -> Figures:
    """What may be a name of ours, and no more of it than a server has."""
    sound = ((name, value) for name, value in figures.items() if _NAME.fullmatch(name))
    return dict(list(sound)[:NAMES_MAX])


def _counters(
    totals: Mapping[tuple[str, ModelName], float], models: Collection[ModelName]
) -> Iterator[Metric]:
    named = {**{(name, model): 0.0 for name in ALWAYS for model in models}, **totals}
    for name in dict.fromkeys(name for name, _ in named):
        for called in (name, *([ALSO_CALLED[name]] if name in ALSO_CALLED else ())):
            family = CounterMetricFamily(
                f"{SERVERS}_{called}", "As llama.cpp counts it.", labels=["model"]
            )
            for (counted, model), value in named.items():
                if counted == name:
                    family.add_metric([model], value)
            yield family


def _gauges(residents: Collection[tuple[ModelName, Figures]]) -> Iterator[Metric]:
    for name in dict.fromkeys(name for _, figures in residents for name in figures):
        family = GaugeMetricFamily(
            f"{SERVERS}_{name}", "As llama.cpp says it now.", labels=["model"]
        )
        said = {model: figures[name] for model, figures in residents if name in figures}
        for model, value in said.items():
            family.add_metric([model], value)
        yield family
