"""GET /benchmarks and POST /models/{name}/benchmarks."""

from dataclasses import replace

import pytest

from orchestrator.core.values.speeds import Expected
from tests.unit.web.office import Office
from tests.unit.web.samples import spec

FIGURES = {
    "generation_tokens_per_second": 30.0,
    "prompt_tokens": 512,
    "answer_tokens": 128,
    "requests": "3",
}
PATH = "/models/a/benchmarks"


@pytest.fixture
def bench(tmp_path):
    expected = Expected(generation_tokens_per_second=45.0)
    models = (replace(spec("a", aliases=("ay",)), expected=expected), spec("b"))
    with Office(tmp_path, models=models) as opened:
        yield opened


def test_what_was_measured_is_kept_and_held_to_what_is_expected(bench):
    assert bench.asked("POST", "/models/load", json={"model": "a"}).status_code == 200
    kept = bench.asked("POST", PATH, json=FIGURES)
    assert kept.status_code == 200
    body = kept.json()
    assert body["before"] is None
    assert body["benchmark"]["model"] == "a"
    assert body["benchmark"]["devices"] == "fake-0"
    assert body["benchmark"]["serving"]["context_size"] > 0
    assert [speed["drifts"] for speed in body["speeds"]] == [True]
    again = bench.asked("POST", "/models/ay/benchmarks", json=FIGURES).json()
    assert again["before"]["generation_tokens_per_second"] == 30.0
    listed = bench.asked("GET", "/benchmarks").json()
    assert [one["model"] for one in listed["benchmarks"]] == ["a"]
    assert listed["speeds"] == again["speeds"]
    assert bench.asked("GET", "/models/status").json()["speeds"] == again["speeds"]


def test_of_what_is_not_loaded_nothing_is_kept(bench):
    refused = bench.asked("POST", PATH, json=FIGURES)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert bench.asked("GET", "/benchmarks").json()["benchmarks"] == []


@pytest.mark.parametrize(
    "change", [{"requests": 0}, {"generation_tokens_per_second": -1}, {"tokens": 3}]
)
def test_figures_that_cannot_be_are_refused(bench, change):
    refused = bench.asked("POST", PATH, json=FIGURES | change)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")


def test_an_unknown_model_is_told_so(bench):
    assert bench.asked("POST", "/models/nobody/benchmarks", json=FIGURES).status_code == 404
