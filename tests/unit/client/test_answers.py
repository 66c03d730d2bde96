import pytest

from orchestrator.client import answers
from orchestrator.client.answers import Generation
from orchestrator.web.wire import examples


def test_what_the_daemon_shows_in_its_examples_is_read():
    ready = answers.ready_model(examples.LOADED)
    assert ready.model == examples.LOADED["model"]
    assert ready.endpoint == examples.LOADED["endpoint"]
    assert ready.evicted == tuple(examples.LOADED["evicted"])
    assert ready.lease_id is None
    assert answers.unloaded(examples.UNLOADED).freed_mb == examples.UNLOADED["freed_mb"]
    assert [each.name for each in answers.catalogue(examples.CATALOGUE)] == ["qwen3-vl-30b"]
    status = answers.machine_status(examples.STATUS)
    assert status.total_mb == 32768
    assert status.loaded["qwen3-vl-30b"].endpoint.startswith("http://")


def test_a_lease_has_an_end():
    told = {**examples.LOADED, "lease_id": "l", "expires_at": "2026-01-15T10:40:00.000Z"}
    ready = answers.ready_model(told)
    assert ready.lease_id == "l"
    assert ready.expires_at.isoformat() == "2026-01-15T10:40:00+00:00"


def test_a_plan_that_fits_and_one_that_does_not():
    plan = answers.load_plan(examples.PLAN)
    assert plan.fits
    assert plan.evict == ("qwen3-vl-30b",)
    assert (plan.why_not, plan.code) == ("", None)
    refusal = {"code": "does_not_fit", "detail": "Too large.", "remedy": "Choose another."}
    plan = answers.load_plan({**examples.PLAN, "fits": False, "refusal": refusal})
    assert (plan.why_not, plan.code) == ("Too large. Choose another.", "does_not_fit")


def test_a_generation_reads_like_its_text():
    assert str(Generation(text="Paris", model="m")) == "Paris"


def test_no_instant_is_none():
    assert answers.instant(None) is None
    with pytest.raises(ValueError, match="soon"):
        answers.instant("soon")
