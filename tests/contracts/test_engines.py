"""What every engine promises, whatever its servers are for: one suite for all.

The servers are real processes. What those promise that talk as OpenAI's do stands in
`test_openai_servers.py`.
"""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from orchestrator.config.engines import KINDS
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.llama.binary import Binary, probe
from orchestrator.engines.llama.container import IMAGE_FLAGS
from orchestrator.errors import Unreachable
from orchestrator.ports import Exit
from tests.contracts.engine_cases import (
    CASES,
    ELSEWHERE,
    HERE,
    LLAMA_SERVERS,
    EngineCase,
    Up,
    brought_up,
    built_server,
    play,
)
from tests.parts import require
from tests.unit.engines.launched import (
    INSTANCE,
    ON_HOST,
    becomes_ready,
    free_port,
    launched,
    real_model,
    spec_of,
)


@pytest.fixture(params=HERE)
def case(request) -> EngineCase:
    return CASES[request.param]


@pytest.fixture(params=[name for name in HERE if CASES[name].kind.reads_files])
def reading_case(request) -> EngineCase:
    return CASES[request.param]


@pytest.fixture(scope="module", params=HERE)
def up(request) -> Iterator[Up]:
    with brought_up(CASES[request.param]) as ready:
        yield ready


def test_every_engine_is_under_contract():
    assert {case.engine for case in CASES.values()} | set(ELSEWHERE) == set(KINDS)


def test_a_llama_server_is_there_to_be_tested():
    if not LLAMA_SERVERS:
        require("llama_cpp")
    assert LLAMA_SERVERS


def test_it_becomes_ready(up):
    assert {one.state for one in up.said[:-1]} <= {ReadyState.STARTING}
    assert up.said[-1].state is ReadyState.READY


def test_loading_is_told_apart_from_not_listening(up):
    told = {one.detail for one in up.said}
    assert up.case.while_it_loads is None or up.case.while_it_loads in told


def test_it_tells_its_use_as_it_says(up):
    async def scene(engine, spec):
        used = await engine.use(up.server.endpoint)
        assert engine.tells_use is (up.case.kind.tells_use or "metrics" in up.case.premises)
        assert (used.busy_slots, used.served_total is None) == (
            (0, False) if engine.tells_use else (None, True)
        )

    play(up.case, scene)


def test_probes_are_no_use(up):
    async def scene(engine, spec):
        at_rest = await engine.use(up.server.endpoint)
        for _ in range(20):
            await engine.readiness(up.server.endpoint)
            assert await engine.use(up.server.endpoint) == at_rest

    play(up.case, scene)


def test_a_server_that_is_not_there_is_starting(case):
    async def scene(engine, spec):
        nobody = Endpoint(f"http://127.0.0.1:{free_port()}")
        assert (await engine.readiness(nobody)).state is ReadyState.STARTING

    play(case, scene)


def test_a_server_that_is_gone_is_unreachable(case):
    async def scene(engine, spec):
        with launched(engine.launch(INSTANCE, spec, ON_HOST)) as server:
            await becomes_ready(engine, server)
            await engine.use(server.endpoint)
            server.process.kill()
            server.exit()
            if engine.tells_use:
                with pytest.raises(Unreachable):
                    await engine.use(server.endpoint)
            assert (await engine.readiness(server.endpoint)).state is ReadyState.STARTING

    play(case, scene)


def test_sigterm_ends_it(case):
    async def scene(engine, spec):
        launch = engine.launch(INSTANCE, spec, ON_HOST)
        with launched(launch) as server:
            await becomes_ready(engine, server)
            server.process.terminate()
            server.exit(within_s=launch.stop_grace_s)

    play(case, scene)


def test_a_taken_port_has_its_name(case):
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def scene(engine, spec):
            launch = engine.launch(INSTANCE, spec, ON_HOST)
            with launched(launch, port=taken.getsockname()[1]) as server:
                assert engine.classify(server.exit()).reason is FailureReason.PORT

        play(case, scene)


@pytest.mark.parametrize("code", [0, 1, -9, -11, 137, None])
def test_any_end_has_a_reason_and_a_remedy(case, code):
    async def scene(engine, spec):
        for tail in ((), ("\x00\ufffd", "Traceback (most recent call last):", "")):
            failure = engine.classify(Exit(code=code, log_tail=tail))
            assert failure.detail
            assert failure.remedy

    play(case, scene)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_a_broken_model_file_has_its_name(reading_case, damage, tmp_path):
    path = tmp_path / "broken.gguf"
    if damage == "truncated":
        path.write_bytes(real_model().read_bytes()[:50_000_000])
    if damage == "text":
        path.write_text("this is a text file, not a model")

    async def scene(engine, spec):
        broken = spec_of(file=str(path), serving=spec.serving)
        with launched(engine.launch(INSTANCE, broken, ON_HOST)) as server:
            failure = engine.classify(server.exit())
        assert failure.reason is FailureReason.MODEL_FILE
        assert failure.remedy
        assert any("broken.gguf" in line for line in failure.log_tail)

    play(reading_case, scene)


@pytest.mark.llama_cpp
def test_the_flags_of_our_image_are_those_of_the_pinned_build():
    """A container cannot be asked before it is made: what it takes is written down."""
    (server,) = built_server()
    found = asyncio.run(probe(server))
    assert isinstance(found, Binary)
    assert IMAGE_FLAGS.names <= found.flags.names
    assert IMAGE_FLAGS.valued <= found.flags.valued
    assert IMAGE_FLAGS.listing <= found.flags.listing


def test_the_same_spec_and_placement_give_the_same_launch(case):
    async def scene(engine, spec):
        first = engine.launch(INSTANCE, spec, ON_HOST)
        assert engine.launch(INSTANCE, spec, ON_HOST) == first
        assert (first.instance, first.model, first.service) == (INSTANCE, spec.name, spec.service)

    play(case, scene)
