"""The stand-in as a process: what it charges, what it says when it fails, how it ends."""

import asyncio
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import Placement, ReadyState
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure, Serving
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from orchestrator.engines.fake import StandInLauncher
from orchestrator.engines.llama.log import classify
from orchestrator.engines.python_program import import_path, program
from orchestrator.ports import Exit
from orchestrator.stand_in.claims import read_account
from tests.unit.engines.launched import (
    INSTANCE,
    ON_HOST,
    becomes_ready,
    launched,
    llama_engine,
    scrubbed,
    spec_of,
    until,
    with_http,
)

FAKE_0 = DeviceId("fake-0")


@pytest.fixture
def claims_dir(tmp_path):
    """Two fake devices of 1000 MiB."""
    spec = FakeDeviceSpec(name="Fake", total_bytes=1000 * MiB)
    devices = FakeDevices(time.time, tmp_path, [spec, spec])
    yield tmp_path
    asyncio.run(devices.close())


def behaving(**behaviour) -> FakeBehaviour:
    return FakeBehaviour(**({"load_s": 0.0} | behaviour))


def started(http, *, claims_dir=None, mb=600, placement=None, slots=1, **behaviour):
    engine = llama_engine(StandInLauncher(claims_dir), http)
    if placement is None:
        placement = Placement(((FAKE_0, mb * MiB),)) if claims_dir else ON_HOST
    spec = spec_of(fake=behaving(**behaviour), serving=Serving(slots=slots))
    return engine, launched(engine.launch(INSTANCE, spec, placement))


def held_mb(claims_dir, device="fake-0") -> int:
    return read_account(claims_dir).held_bytes(device) // MiB


def test_what_it_takes_is_charged_while_it_runs(claims_dir):
    async def scene(http):
        shares = ((FAKE_0, 600 * MiB), (DeviceId("fake-1"), 300 * MiB), (DeviceId("host"), MiB))
        engine, server = started(http, claims_dir=claims_dir, placement=Placement(shares))
        with server as server:
            await becomes_ready(engine, server)
            assert (held_mb(claims_dir), held_mb(claims_dir, "fake-1")) == (600, 300)

    with_http(scene)


def test_the_charge_grows_as_it_loads_up_to_the_peak_and_settles(claims_dir):
    async def scene(http):
        engine, server = started(http, claims_dir=claims_dir, peak_mb=800, load_s=2.0)
        seen = set()
        with server as server:

            async def ready() -> bool:
                seen.add(held_mb(claims_dir))
                return (await engine.readiness(server.endpoint)).state is ReadyState.READY

            await until(ready)
            assert len(seen & set(range(60, 600, 60))) > 1
            assert 800 in seen
            assert held_mb(claims_dir) == 600
            assert "100 % of the weights" in server.log_text()

    with_http(scene)


@pytest.mark.parametrize(
    ("mb", "behaviour", "asked_mb"),
    [
        (600, {"peak_mb": 1200}, 600),  # beyond the weights: the piece that was asked for
        (1100, {}, None),  # the weights themselves: the log does not say how much was missing
        (600, {"fail": FakeFailure.OUT_OF_MEMORY}, 60),
    ],
)
def test_a_full_device_ends_it_in_words_that_are_understood(claims_dir, mb, behaviour, asked_mb):
    async def scene(http):
        engine, server = started(http, claims_dir=claims_dir, mb=mb, **behaviour)
        with server as server:
            failure = engine.classify(server.exit())
        assert failure.reason is FailureReason.OUT_OF_MEMORY
        assert failure.asked_bytes == (None if asked_mb is None else asked_mb * MiB)

    with_http(scene)


def test_it_exits_soon_after_the_start_when_told_to():
    async def scene(http):
        engine, server = started(http, fail=FakeFailure.EXITS)
        with server as server:
            failure = engine.classify(server.exit())
        assert failure.reason is FailureReason.EXITED
        assert "as it was told to" in failure.detail

    with_http(scene)


def test_it_dies_by_itself_while_it_serves():
    async def scene(http):
        engine, server = started(http, dies_after_s=1.5)
        with server as server:
            await becomes_ready(engine, server)
            exit_ = server.exit()
            assert time.monotonic() - server.started_s >= 1.5
        assert exit_.code == 1
        assert engine.classify(exit_).reason is FailureReason.EXITED

    with_http(scene)


def test_it_is_never_ready_when_told_to():
    async def scene(http):
        engine, server = started(http, fail=FakeFailure.NEVER_READY)
        with server as server:

            async def loads_for_ever() -> bool:
                return "load for ever" in server.log_text()

            await until(loads_for_ever)
            readiness = await engine.readiness(server.endpoint)
            assert (readiness.state, readiness.detail) == (ReadyState.STARTING, "Loading model")

    with_http(scene)


def test_a_stop_takes_as_long_as_it_should():
    async def scene(http):
        engine, server = started(http, stop_s=0.4)
        with server as server:
            await becomes_ready(engine, server)
            told_s = time.monotonic()
            server.process.terminate()
            assert server.exit().code == 0
            assert 0.4 <= time.monotonic() - told_s < 5

    with_http(scene)


def test_sigterm_may_be_ignored():
    async def scene(http):
        engine, server = started(http, ignore_sigterm=True)
        with server as server:
            await becomes_ready(engine, server)
            server.process.terminate()
            assert (await engine.readiness(server.endpoint)).state is ReadyState.READY
            server.process.kill()
            assert server.exit().code == -9

    with_http(scene)


def test_a_taken_port_ends_it_with_the_reason():
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def scene(http):
            engine = llama_engine(StandInLauncher(None), http)
            launch = engine.launch(INSTANCE, spec_of(fake=behaving()), ON_HOST)
            with launched(launch, port=taken.getsockname()[1]) as server:
                assert engine.classify(server.exit()).reason is FailureReason.PORT

        with_http(scene)


def test_a_broken_account_is_told(tmp_path):
    (tmp_path / "account.json").write_text("{")

    async def scene(http):
        engine, server = started(http, claims_dir=tmp_path)
        with server as server:
            failure = engine.classify(server.exit())
        assert "account" in failure.detail

    with_http(scene)


def test_a_client_gone_in_mid_stream_ends_the_talk_and_frees_the_slot():
    async def scene(http):
        engine, server = started(http, tokens_per_s=20.0)
        order = {"prompt": "x", "max_tokens": 100_000, "stream": True}
        with server as server:
            await becomes_ready(engine, server)
            url = f"{server.endpoint.url}/v1/completions"
            async with httpx.AsyncClient() as client, client.stream("POST", url, json=order) as it:
                lines = it.aiter_lines()
                await anext(lines)
                assert (await engine.use(server.endpoint)).busy_slots == 1

            async def free() -> bool:
                return (await engine.use(server.endpoint)).busy_slots == 0

            await until(free)

    with_http(scene)


def test_more_talkers_than_slots_are_served_in_turn():
    async def scene(http):
        engine, server = started(http, slots=2, tokens_per_s=100.0)
        order = {"prompt": "x", "max_tokens": 20}
        with server as server:
            await becomes_ready(engine, server)
            url = f"{server.endpoint.url}/v1/completions"
            began_s = time.monotonic()
            async with httpx.AsyncClient(timeout=30) as client:
                answers = await asyncio.gather(*(client.post(url, json=order) for _ in range(6)))
            assert [answer.status_code for answer in answers] == [200] * 6
            assert time.monotonic() - began_s >= 0.6

    with_http(scene)


def test_what_is_no_http_gets_an_answer_and_harms_nobody():
    async def scene(http):
        engine, server = started(http)
        with server as server:
            await becomes_ready(engine, server)
            address = ("127.0.0.1", httpx.URL(server.endpoint.url).port)
            with socket.create_connection(address, timeout=5) as client:
                client.sendall(b"hello\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 400 ")
            assert (await engine.readiness(server.endpoint)).state is ReadyState.READY

    with_http(scene)


def test_one_that_takes_no_vram_is_not_charged(claims_dir):
    async def scene(http):
        engine, server = started(http, claims_dir=claims_dir, takes_no_vram=True)
        with server as server:
            await becomes_ready(engine, server)
            assert held_mb(claims_dir) == 0

    with_http(scene)


def test_a_full_disk_takes_its_log_and_does_not_stop_it():
    async def scene(http):
        engine = llama_engine(StandInLauncher(None), http)
        launch = engine.launch(INSTANCE, spec_of(fake=behaving()), ON_HOST)
        with launched(launch, log=Path("/dev/full")) as server:
            await becomes_ready(engine, server)

    with_http(scene)


def test_wrong_arguments_are_told():
    done = subprocess.run(
        [*program("orchestrator.stand_in.server"), "--model", "m", "--no-such-flag"],
        env=scrubbed(import_path()),
        capture_output=True,
        text=True,
        check=False,
    )
    failure = classify(Exit(code=done.returncode, log_tail=tuple(done.stderr.splitlines())))
    assert done.returncode == 2
    assert failure.reason is FailureReason.ARGUMENTS
