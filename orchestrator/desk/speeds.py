"""How fast models are: benchmarks that were kept, requests that had their model to themselves, and
what is slower than its operator expects.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import fingerprint
from orchestrator.conductor.conductor import Conductor
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import InstanceId, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.speeds import RATES, Figure, Speeds
from orchestrator.desk.activity import Activity, Run
from orchestrator.errors import Denied
from orchestrator.records import BENCHMARKS_KEPT_MAX, BenchmarkRecord
from orchestrator.wall import WALL

# A request of which less was written tells more of its beginning than of its rate.
REQUEST_TOKENS_MIN = 32
REQUESTS_JUDGED = 20  # the last ones, by their median
REQUESTS_JUDGED_MIN = 5

_WORDS: Mapping[Figure, str] = {
    Figure.GENERATION: "writes {:.1f} tokens/s",
    Figure.PROMPT: "reads {:.1f} tokens/s",
    Figure.FIRST_TOKEN: "begins to answer after {:.2f} s",
    Figure.LOAD: "takes {:.1f} s to load",
}
_REMEDY = (
    "See what shares its device and how warm that is (GET /models/status); `orchestrator bench {}` "
    "measures anew. If it is to be so, change `expected`."
)

Rate = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Span = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOrder:
    """What a benchmark measured of a model that is ready; null is not measured."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "generation_tokens_per_second": 45.2,
                    "prompt_tokens_per_second": 1890.0,
                    "first_token_seconds": 0.31,
                    "prompt_tokens": 512,
                    "answer_tokens": 128,
                    "requests": 3,
                }
            ]
        },
    )

    generation_tokens_per_second: Rate | None = None
    prompt_tokens_per_second: Rate | None = None
    first_token_seconds: Span | None = None
    load_seconds: Span | None = None
    """Of a cold load."""
    prompt_tokens: Count
    """Of each request."""
    answer_tokens: Count
    requests: Count
    """That the figures are the medians of."""

    @property
    def speeds(self) -> Speeds:
        return Speeds(
            generation_tokens_per_second=self.generation_tokens_per_second,
            prompt_tokens_per_second=self.prompt_tokens_per_second,
            first_token_seconds=self.first_token_seconds,
            load_seconds=self.load_seconds,
        )


class SpeedSource(StrEnum):
    BENCHMARK = "benchmark"
    REQUESTS = "requests"  # of clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One figure of a model that is expected to have a value."""

    model: ModelName
    figure: Figure
    expected: float
    bound: float
    measured: float | None = None
    source: SpeedSource | None = None
    at: datetime | None = None
    drifts: bool = False


@dataclass(frozen=True, slots=True)
class _Measure:
    value: float | None
    at: datetime
    source: SpeedSource | None


_NOT_YET = _Measure(None, datetime.min.replace(tzinfo=UTC), None)


@dataclass(slots=True)
class _Heard:
    """What the requests of one life of a model told."""

    instance: InstanceId
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=REQUESTS_JUDGED))
    at_s: float = 0.0

    @property
    def measured(self) -> list[_Measure]:
        """Nothing before there were enough of them."""
        if len(self.rates) < REQUESTS_JUDGED_MIN:
            return []
        at = WALL.moment(self.at_s)
        return [_Measure(median(self.rates), at, SpeedSource.REQUESTS)]


class SpeedBook:
    """Belongs to one event loop. In memory but for `keep`, which waits for the disk."""

    def __init__(self, conductor: Conductor, catalogue: Catalogue, activity: Activity) -> None:
        self._conductor = conductor
        self._catalogue = catalogue
        self._activity = activity
        self._kept: dict[tuple[ModelName, str, str], BenchmarkRecord] = {}
        self._heard: dict[ModelName, _Heard] = {}
        self._last_end_s: dict[ModelName, float] = {}
        self._drifting: set[tuple[ModelName, Figure]] = set()
        activity.watch(self._ended, lambda _: None)

    def go_on_from(self, kept: Iterable[BenchmarkRecord]) -> None:
        """What was slow before is not told again."""
        for record in sorted(kept, key=lambda one: one.measured_at):
            self._kept[_key(record)] = record
        self._drifting = {(one.model, one.figure) for one in self.all() if self._is_worse(one)}

    # --- benchmarks ------------------------------------------------------------------------------

    def benchmarks(self, rights: Rights = EVERYTHING) -> tuple[BenchmarkRecord, ...]:
        """The newest of each model under each of its settings; newest first."""
        seen = (record for record in self._kept.values() if rights.sees(record.model))
        return tuple(sorted(seen, key=lambda record: record.measured_at, reverse=True))

    async def keep(
        self, spec: ModelSpec, order: BenchmarkOrder
    ) -> tuple[BenchmarkRecord, BenchmarkRecord | None, bool]:
        """As of now, with what stood there before, and whether it is on the disk. Raise Denied
        where the model is not ready: nobody can say under which settings it was measured.
        """
        resident = self._conductor.scheduler.state.ledger.resident(spec.name)
        if resident is None or resident.state not in (ResidentState.READY, ResidentState.DRAINING):
            detail = f"{spec.name} is not loaded: under which settings it was measured is not known"
            remedy = "Keep it by a lease while it is measured, as `orchestrator bench` does."
            raise Denied(Refusal(code=RefusalCode.CONFLICT, detail=f"{detail}.", remedy=remedy))
        draft = BenchmarkRecord(
            model=spec.name,
            settings=fingerprint(resident.spec),
            devices=", ".join(resident.placement.devices),
            measured_at=WALL.moment(self._conductor.clock()),
            serving=resident.spec.serving,
            speeds=order.speeds,
            prompt_tokens=order.prompt_tokens,
            answer_tokens=order.answer_tokens,
            requests=order.requests,
        )
        before = self._kept.pop(_key(draft), None)
        record = draft if before is None else _with_load_of(before, draft)
        self._kept[_key(record)] = record
        if len(self._kept) > BENCHMARKS_KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._judge(spec.name)
        return record, before, await self._conductor.registry.benchmarks.put(record)

    # --- what is expected ------------------------------------------------------------------------

    def all(self, rights: Rights = EVERYTHING) -> tuple[Speed, ...]:
        """Of every model that is expected to have some, in the order of the catalogue."""
        specs = self._catalogue.specs.values()
        return tuple(
            speed for spec in specs if rights.sees(spec.name) for speed in self._speeds(spec)
        )

    def judge_all(self) -> None:
        """After a change of what is expected."""
        self._drifting = {key for key in self._drifting if self._expected(key)}
        for name in self._catalogue.specs:
            self._judge(name)

    def _expected(self, key: tuple[ModelName, Figure]) -> bool:
        spec = self._catalogue.specs.get(key[0])
        return spec is not None and spec.expected is not None and bool(spec.expected.of(key[1]))

    def _judge(self, model: ModelName) -> None:
        """Say once what has become slow, and once that it is well again."""
        spec = self._catalogue.specs.get(model)
        for speed in self._speeds(spec) if spec is not None else ():
            worse = self._is_worse(speed)
            if worse == speed.drifts:
                continue
            if worse:
                self._drifting.add((model, speed.figure))
            else:
                self._drifting.discard((model, speed.figure))
            self._conductor.say(_said(speed, worse=worse))

    def _is_worse(self, speed: Speed) -> bool:
        spec = self._catalogue.specs[speed.model]
        if spec.expected is None or speed.measured is None:
            return speed.drifts
        return spec.expected.is_worse(speed.figure, speed.measured, drifting=speed.drifts)

    def _speeds(self, spec: ModelSpec) -> Iterator[Speed]:
        if spec.expected is None:
            return
        settings = fingerprint(spec)
        records = [
            record
            for record in self._kept.values()
            if record.model == spec.name and record.settings == settings
        ]
        for figure in Figure:
            if (expected := spec.expected.of(figure)) is None:
                continue
            told = [one for record in records if (one := _by_benchmark(record, figure))]
            if figure is Figure.GENERATION and (heard := self._heard.get(spec.name)):
                told += heard.measured
            newest = max(told, key=lambda one: one.at, default=_NOT_YET)
            yield Speed(
                model=spec.name,
                figure=figure,
                expected=expected,
                bound=spec.expected.bound,
                measured=newest.value,
                source=newest.source,
                at=newest.at if newest.source else None,
                drifts=(spec.name, figure) in self._drifting,
            )

    # --- requests --------------------------------------------------------------------------------

    def _ended(self, run: Run) -> None:
        """A warm request passes here: of a model without expectations it is a look into a table."""
        model = run.model
        if model is None or run.ended_s is None:
            return
        spec = self._catalogue.specs.get(model)
        if spec is None or spec.expected is None or run.granted_s is None:
            return
        alone = self._last_end_s.get(model, 0.0) <= run.granted_s and not any(
            other.model == model for other in self._activity.running
        )
        self._last_end_s[model] = run.ended_s
        usage = run.usage
        if not alone or usage is None or not usage.tokens_per_s:
            return
        if (usage.tokens_out or 0) < REQUEST_TOKENS_MIN or not self._as_configured(run, spec):
            return
        heard = self._heard.get(model)
        if heard is None or heard.instance != run.instance:
            heard = self._heard[model] = _Heard(run.instance or InstanceId(""))
        heard.rates.append(usage.tokens_per_s)
        heard.at_s = run.ended_s
        if heard.measured:
            self._judge(model)

    def _as_configured(self, run: Run, spec: ModelSpec) -> bool:
        """What is expected is expected of the settings of the catalogue."""
        resident: Resident | None = self._conductor.scheduler.state.ledger.resident(spec.name)
        if resident is None or resident.instance != run.instance:
            return False
        return resident.spec.serving == spec.serving


def _by_benchmark(record: BenchmarkRecord, figure: Figure) -> _Measure | None:
    value = record.speeds.of(figure)
    if value is None:
        return None
    return _Measure(value, record.measured_at, SpeedSource.BENCHMARK)


def _with_load_of(before: BenchmarkRecord, record: BenchmarkRecord) -> BenchmarkRecord:
    """A model that was there already shows no load: the last one under these settings stands."""
    if record.speeds.load_seconds is not None:
        return record
    load_s = before.speeds.load_seconds
    return replace(record, speeds=replace(record.speeds, load_seconds=load_s))


def _key(record: BenchmarkRecord) -> tuple[ModelName, str, str]:
    return record.model, record.settings, record.devices


def _said(speed: Speed, *, worse: bool) -> Decide:
    assert speed.measured is not None, "nothing is worse that was not measured"
    allowed = "less" if speed.figure in RATES else "more"
    by = "a benchmark" if speed.source is SpeedSource.BENCHMARK else "its last requests"
    expected = f"{speed.expected:g} expected, {speed.bound:.0%} {allowed} allowed"
    return Decide(
        kind=DecisionKind.SPEED,
        model=speed.model,
        text=f"{speed.model} {_WORDS[speed.figure].format(speed.measured)}"
        f"{': slower than expected' if worse else ' again, as expected'}.",
        why=f"by {by}; {expected}",
        remedy=_REMEDY.format(speed.model) if worse else "",
    )
