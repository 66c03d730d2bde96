"""How fast models are, and when that is said."""

from dataclasses import replace

import pytest

from orchestrator.core.values.decisions import DecisionKind
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.speeds import Expected, Figure
from orchestrator.desk.speeds import (
    REQUESTS_JUDGED,
    REQUESTS_JUDGED_MIN,
    BenchmarkOrder,
    SpeedSource,
)
from orchestrator.errors import Denied
from orchestrator.orders import LoadOrder
from orchestrator.records import Outcome, Usage
from tests.unit.web.office import Office
from tests.unit.web.samples import spec

A = ModelName("a")
EXPECTED = Expected(generation_tokens_per_second=45.0, load_seconds=10.0, bound=0.1)


@pytest.fixture
def office(tmp_path):
    models = (replace(spec("a"), expected=EXPECTED), spec("b"))
    with Office(tmp_path, models=models) as opened:
        yield opened


def load(office, **order):
    async def loaded():
        pending = await office.desk.begin_load(LoadOrder(model="a", **order))
        await office.desk.load_outcome(pending.id, 240.0)

    office.run(loaded())


def benched(office, rate=None, *, model="a", load_s=None):
    order = BenchmarkOrder(
        generation_tokens_per_second=rate,
        load_seconds=load_s,
        prompt_tokens=512,
        answer_tokens=128,
        requests=3,
    )
    desk = office.desk
    return office.run(desk.speeds.keep(desk.catalogue[model], order))


def asked(office, rate, *, tokens=128, model="a", overlapping=False):
    """One request that was answered, at this rate."""
    activity, resident = office.desk.activity, office.loaded()[model]

    def begun():
        run = activity.begin(model, protocol="openai", path="/x", client="127.0.0.1")
        activity.granted(run, resident.name, resident.instance)
        return run

    run = begun()
    other = begun() if overlapping else None
    office.pass_s(1)
    activity.end(run, Outcome.ANSWERED, 200, Usage(10, tokens, rate))
    if other is not None:
        activity.end(other, Outcome.ANSWERED, 200, Usage(10, tokens, rate))


def speed(office, figure=Figure.GENERATION):
    return next(one for one in office.desk.speeds.all() if one.figure is figure)


def said(office):
    return [
        record.decision.text
        for record in office.desk.history.decisions()
        if record.decision.kind is DecisionKind.SPEED
    ]


def test_only_models_with_expectations_are_held_to_some(office):
    assert [(one.model, one.figure) for one in office.desk.speeds.all()] == [
        ("a", Figure.GENERATION),
        ("a", Figure.LOAD),
    ]
    assert (speed(office).measured, speed(office).drifts) == (None, False)


def test_a_benchmark_beyond_the_bound_is_said_once_and_so_is_its_end(office):
    load(office)
    benched(office, 39.0)
    benched(office, 38.0)
    assert said(office) == ["a writes 39.0 tokens/s: slower than expected."]
    assert (speed(office).measured, speed(office).drifts) == (38.0, True)
    benched(office, 42.0)  # within the bound, but not within half of it
    assert speed(office).drifts
    benched(office, 44.0)
    assert said(office)[1:] == ["a writes 44.0 tokens/s again, as expected."]
    assert not speed(office).drifts


def test_within_the_bound_nothing_is_said(office):
    load(office)
    benched(office, 41.0, load_s=10.5)
    assert said(office) == []
    assert speed(office, Figure.LOAD).measured == 10.5


def test_what_was_there_before_is_told_and_the_last_load_stands(office):
    load(office)
    _, before, durable = benched(office, 45.0, load_s=9.0)
    assert (before, durable) == (None, True)
    record, before, _ = benched(office, 46.0)
    assert before.speeds.generation_tokens_per_second == 45.0
    assert record.speeds.load_seconds == 9.0
    assert office.run(office.registry.recall()).benchmarks == (record,)


def test_other_settings_are_another_benchmark_and_not_held_to_what_is_expected(office):
    load(office, context_size=2048)
    record, *_ = benched(office, 10.0)
    assert record.serving.context_size == 2048
    assert said(office) == []
    assert speed(office).measured is None


def test_what_is_not_loaded_cannot_be_kept(office):
    with pytest.raises(Denied) as refused:
        benched(office, 45.0)
    assert refused.value.refusal.code is RefusalCode.CONFLICT


def test_requests_that_had_the_model_to_themselves_tell_its_rate(office):
    load(office)
    for _ in range(REQUESTS_JUDGED_MIN - 1):
        asked(office, 30.0)
    assert speed(office).measured is None
    asked(office, 30.0)
    assert (speed(office).measured, speed(office).source) == (30.0, SpeedSource.REQUESTS)
    assert said(office) == ["a writes 30.0 tokens/s: slower than expected."]
    for _ in range(REQUESTS_JUDGED):
        asked(office, 45.0)
    assert said(office)[1:] == ["a writes 45.0 tokens/s again, as expected."]


@pytest.mark.parametrize(
    "how", [{"tokens": 8}, {"overlapping": True}, {"rate": None}, {"model": "b"}]
)
def test_what_tells_nothing_of_its_rate_is_not_counted(office, how):
    async def both():
        for name in ("a", "b"):
            pending = await office.desk.begin_load(LoadOrder(model=name))
            await office.desk.load_outcome(pending.id, 240.0)

    office.run(both())
    for _ in range(REQUESTS_JUDGED):
        asked(office, **{"rate": 1.0, **how})
    assert said(office) == []
    assert speed(office).measured is None


def test_one_request_beside_another_is_not_counted_but_the_next_is(office):
    load(office)
    asked(office, 1.0, overlapping=True)
    for _ in range(REQUESTS_JUDGED_MIN):
        asked(office, 45.0)
    assert speed(office).measured == 45.0


def test_after_a_restart_what_was_slow_is_known_and_not_said_again(office, tmp_path):
    load(office)
    benched(office, 30.0)
    kept = office.run(office.registry.recall())
    models = (replace(spec("a"), expected=EXPECTED),)
    with Office(tmp_path, models=models, registry=office.registry) as later:
        later.desk.go_on_from(kept)
        assert speed(later).drifts
        assert said(later) == []


def test_a_reload_judges_by_what_is_expected_then(office):
    load(office)
    benched(office, 30.0)
    office.config = replace(office.config, catalogue={A: replace(spec("a"), expected=None)})
    office.run(office.desk.reload())
    assert office.desk.speeds.all() == ()
    slower = Expected(generation_tokens_per_second=30.0)
    office.config = replace(office.config, catalogue={A: replace(spec("a"), expected=slower)})
    office.run(office.desk.reload())
    assert not speed(office).drifts
