"""Which llama-server is made of which premises."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.core.values.residents import Endpoint
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.engine import make
from orchestrator.engines.premises import Premises
from orchestrator.errors import Unreachable
from orchestrator.ports import Exit
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of, with_http

NOBODY = Endpoint("http://127.0.0.1:9")


def launched(**premises):
    async def scene(http):
        made = make(Premises(http=http, **premises))
        spec = spec_of(file="/models/a.gguf", url="http://there:1")
        launches.append(made.launch(INSTANCE, spec, ON_HOST))

    launches = []
    with_http(scene)
    return launches[0]


def test_it_is_a_container_an_image_or_elsewhere_as_written():
    assert launched(external=True).url == "http://there:1"
    assert launched(container="llama-cpp").container == "llama-cpp"
    boxed = launched(image="org/server:1", program="/app/server", models_dir=Path("/models"))
    assert (boxed.image, boxed.argv[0]) == ("org/server:1", "/app/server")


def test_without_any_of_these_it_is_a_program_here():
    async def scene(http: ServerHttp):
        made = make(Premises(http=http, programs=(Path("/nowhere/llama-server"),)))
        assert "/nowhere/llama-server" in (await made.check(spec_of(file="/a.gguf"))).detail

    with_http(scene)


def test_only_one_that_is_not_ours_is_asked_to_unload():
    async def scene(http: ServerHttp):
        await make(Premises(http=http)).unload(NOBODY, spec_of())
        with pytest.raises(Unreachable):
            await make(Premises(http=http, external=True)).unload(NOBODY, spec_of())

    with_http(scene)


def test_a_container_that_was_too_small_is_told_by_its_limit():
    http = ServerHttp()
    made = make(Premises(http=http, image="i", memory_mb=64))
    failure = made.classify(Exit(code=137, log_tail=(), out_of_memory=True))
    asyncio.run(http.close())
    assert "64" in failure.detail + failure.remedy
