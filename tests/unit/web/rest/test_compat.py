import asyncio

import pytest

from orchestrator.core.values.messages import ShutdownBegan
from tests.unit.web.office import Office
from tests.unit.web.samples import spec
from tests.unit.web.served import listening, serving

MODELS = (spec("a", ttl_s=600.0), spec("b"))


@pytest.fixture
def office(tmp_path):
    """Both models are loaded."""
    with Office(tmp_path, models=MODELS) as office:
        for name in "ab":
            assert office.asked("POST", "/models/load", json={"model": name}).status_code == 200
        yield office


def test_running_as_llama_swap_tells_it(office):
    first, second = office.asked("GET", "/running").json()["running"]
    assert first == {
        "model": "a",
        "state": "ready",
        "cmd": "",
        "proxy": office.loaded()["a"].endpoint.url,
        "ttl": 600,
        "name": "a",
        "description": "",
    }
    assert second["ttl"] == 0


def test_everything_is_unloaded(office):
    answer = office.asked("POST", "/api/models/unload")
    assert answer.json() == {"msg": "ok", "unloaded": ["a", "b"], "kept": []}
    assert office.loaded() == {}


def test_what_is_in_use_is_kept_and_named(office):
    for name in "ab":
        office.asked("POST", "/models/load", json={"model": name, "owner": "x"})
    answer = office.asked("POST", "/api/models/unload")
    assert answer.status_code == 200
    assert answer.json()["unloaded"] == []
    assert [each["code"] for each in answer.json()["kept"]] == ["in_use", "in_use"]


def test_llama_swap_unload_keeps_the_pinned(office):
    assert office.asked("PUT", "/models/a/pin").status_code == 200
    answer = office.asked("POST", "/api/models/unload").json()
    assert answer["unloaded"] == ["b"]
    assert [(each["model"], each["code"]) for each in answer["kept"]] == [("a", "pinned")]
    assert list(office.loaded()) == ["a"]
    assert office.asked("POST", "/api/models/unload/a").json() == {"msg": "ok"}, "its own unload"


def test_nothing_is_kept_for_the_end_of_the_daemon(office):
    """It refuses all of it, in the one error body."""
    tell(office, ShutdownBegan(stop_residents=False))
    answer = office.asked("POST", "/api/models/unload", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")


def tell(office, event):
    async def told():
        office.conductor.tell(event)

    office.run(told())


def test_one_model_is_unloaded(office):
    assert office.asked("POST", "/api/models/unload/b").json() == {"msg": "ok"}
    assert list(office.loaded()) == ["a"]
    assert office.asked("POST", "/api/models/unload/zzz").status_code == 404


def test_the_name_to_unload_may_have_a_slash(tmp_path):
    with Office(tmp_path, models=(spec("org/b"),)) as office:
        office.asked("POST", "/models/load", json={"model": "org/b"})
        assert office.asked("POST", "/api/models/unload/org/b").json() == {"msg": "ok"}
        assert office.loaded() == {}


def test_router_events_arrive_as_llama_cpp_sends_them(tmp_path):
    async def listen():
        office = Office(tmp_path, models=MODELS)
        async with serving(office, "a", "b") as url, listening(url, "/models/sse") as events:
            return [await anext(events), await anext(events)]

    (_, first), (_, second) = asyncio.run(listen())
    assert first == {"model": "a", "event": "model_status", "data": {"status": "loaded"}}
    assert second["model"] == "b"
