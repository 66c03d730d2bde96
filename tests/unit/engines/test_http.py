"""The client behind all talkers."""

import socket

import pytest

from orchestrator.core.values.residents import Endpoint
from orchestrator.engines.http import ANSWER_BYTES_MAX, NoAnswer, TooSlow
from tests.stand_in import stand_in
from tests.unit.engines.launched import with_http


def test_a_question_reaches_the_server_past_any_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with stand_in(**{"GET /health": (302, {}), "POST /models/unload": {"success": True}}) as server:
        endpoint = Endpoint(server.url)

        async def scene(http):
            assert (await http.get(endpoint, "/health", 5)).status == 302, "not followed"
            assert (await http.post(endpoint, "/models/unload", {"model": "a"}, 5)).is_ok

        with_http(scene)
    assert server.bodies("/models/unload") == [{"model": "a"}]


def test_a_server_that_is_gone_gives_no_answer():
    async def scene(http):
        with pytest.raises(NoAnswer, match="Cannot connect"):
            await http.get(Endpoint("http://127.0.0.1:9"), "/health", 5)

    with_http(scene)


def test_a_server_that_took_the_question_and_is_silent_is_too_slow():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}")

        async def scene(http):
            with pytest.raises(TooSlow, match=r"no answer within 0\.2 s"):
                await http.get(endpoint, "/metrics", 0.2)

        with_http(scene)


def test_of_an_answer_that_does_not_end_little_is_read():
    with stand_in(**{"GET /slots": b"[" * (3 * ANSWER_BYTES_MAX)}) as server:

        async def scene(http):
            said = await http.get(Endpoint(server.url), "/slots", 5)
            assert len(said.body) < 2 * ANSWER_BYTES_MAX
            with pytest.raises(ValueError):
                said.json()

        with_http(scene)
