"""A llama-server that is not ours."""

import pytest

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.llama.router import LlamaRouterTalker
from orchestrator.errors import Unreachable
from tests.stand_in import stand_in
from tests.unit.engines.launched import spec_of, with_http

NOWHERE = Endpoint("http://127.0.0.1:9")


def test_a_server_that_does_not_listen_yet_is_waited_for():
    async def scene(http):
        readiness = await LlamaRouterTalker(http).readiness(NOWHERE)
        assert readiness.state is ReadyState.STARTING

    with_http(scene)


def test_a_router_is_asked_to_unload_by_name():
    with stand_in() as server:
        server.answers["POST /models/unload"] = {"success": True}

        async def scene(http):
            await LlamaRouterTalker(http).unload(Endpoint(server.url), spec_of("qwen"))

        with_http(scene)
    assert server.bodies("/models/unload") == [{"model": "qwen"}]


def test_a_plain_server_keeps_its_memory_and_that_is_said():
    with stand_in() as server:

        async def scene(http):
            with pytest.raises(Unreachable, match="router mode"):
                await LlamaRouterTalker(http).unload(Endpoint(server.url), spec_of("qwen"))

        with_http(scene)


def test_a_server_that_is_gone_cannot_be_asked():
    async def scene(http):
        with pytest.raises(Unreachable, match="does not answer"):
            await LlamaRouterTalker(http).unload(NOWHERE, spec_of("qwen"))

    with_http(scene)
