"""The client behind all talkers."""

import httpx
import pytest

from orchestrator.core.values.residents import Endpoint
from tests.stand_in import stand_in
from tests.unit.engines.launched import with_http


def test_a_question_reaches_the_server_past_any_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with stand_in(**{"GET /health": (302, {}), "POST /models/unload": {"success": True}}) as server:
        endpoint = Endpoint(server.url)

        async def scene(http):
            assert (await http.get(endpoint, "/health", 5)).status_code == 302, "not followed"
            assert (await http.post(endpoint, "/models/unload", {"model": "a"}, 5)).is_success

        with_http(scene)
    assert server.bodies("/models/unload") == [{"model": "a"}]


def test_a_server_that_is_gone_raises_httpx_own_error():
    async def scene(http):
        with pytest.raises(httpx.HTTPError):
            await http.get(Endpoint("http://127.0.0.1:9"), "/health", 5)

    with_http(scene)
