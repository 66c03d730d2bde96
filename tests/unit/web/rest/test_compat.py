import asyncio

import pytest

from orchestrator.core.values.refusals import Refusal, RefusalCode
from tests.unit.web.desk import FakeDesk, asked, resident, spec
from tests.unit.web.served import listening, serving


@pytest.fixture
def desk():
    desk = FakeDesk(spec("a", ttl_s=600.0), spec("org/b"))
    desk.residents = {name: resident(each) for name, each in desk.catalogue.items()}
    return desk


def test_running_as_llama_swap_tells_it(desk):
    first, second = asked(desk, "GET", "/running").json()["running"]
    assert first == {
        "model": "a",
        "state": "ready",
        "cmd": "",
        "proxy": "http://127.0.0.1:4000",
        "ttl": 600,
        "name": "a",
        "description": "",
    }
    assert second["ttl"] == 0


def test_ps_as_ollama_tells_it(desk):
    first, second = asked(desk, "GET", "/api/ps").json()["models"]
    assert (first["name"], first["size_vram"], first["context_length"]) == (
        "a",
        6000 << 20,
        4096,
    )
    assert first["expires_at"] == "2026-01-15T10:40:00.000Z"
    assert second["expires_at"].startswith("9999")


def test_everything_is_unloaded(desk):
    answer = asked(desk, "POST", "/api/models/unload")
    assert answer.json() == {"msg": "ok", "unloaded": ["a", "org/b"], "kept": []}
    assert desk.residents == {}


def test_what_is_in_use_is_kept_and_named(desk):
    desk.unload_refusal = Refusal(code=RefusalCode.IN_USE, detail="In use.")
    answer = asked(desk, "POST", "/api/models/unload")
    assert answer.status_code == 200
    assert answer.json()["unloaded"] == []
    assert [each["code"] for each in answer.json()["kept"]] == ["in_use", "in_use"]


def test_one_model_is_unloaded_also_with_a_slash_in_its_name(desk):
    assert asked(desk, "POST", "/api/models/unload/org/b").json() == {"msg": "ok"}
    assert list(desk.residents) == ["a"]
    assert asked(desk, "POST", "/api/models/unload/zzz").status_code == 404


def test_router_events_arrive_as_llama_cpp_sends_them(desk):
    async def listen():
        async with serving(desk) as url, listening(url, "/models/sse") as events:
            return [await anext(events), await anext(events)]

    (_, first), (_, second) = asyncio.run(listen())
    assert first == {"model": "a", "event": "model_status", "data": {"status": "loaded"}}
    assert second["model"] == "org/b"
