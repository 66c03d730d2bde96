"""Health told beside a loop that turns, or does not."""

import asyncio
import time

import httpx
import pytest

from orchestrator.config.sections import ServerSettings
from orchestrator.daemon.health import telling, vital_signs
from orchestrator.daemon.health.telling import health_told
from orchestrator.runtimes.process.ports import reserved_port
from tests.asynchronous import eventually, run
from tests.pace import crowd


@pytest.fixture
def port():
    return reserved_port("127.0.0.1")


async def ask(port, path="/health"):
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


def test_it_is_told_while_the_block_runs(port, caplog):
    async def scene():
        async with health_told(ServerSettings(health_port=port)) as signs:
            assert (await ask(port)).status_code == 200
            assert (await ask(port, "/health/ready")).status_code == 503
            signs.serves(lambda: True)
            assert (await ask(port, "/health/ready")).status_code == 200
            began = time.monotonic()
        assert time.monotonic() - began < 0.5 * crowd()
        with pytest.raises(httpx.ConnectError):
            await ask(port)

    caplog.set_level("INFO")
    run(scene())
    assert f"health is told at http://127.0.0.1:{port}/health" in caplog.text


def test_what_the_loop_knows_is_asked_with_every_beat(port, monkeypatch):
    monkeypatch.setattr(telling, "BEAT_S", 0.05)

    async def scene():
        works = [True]
        async with health_told(ServerSettings(health_port=port)) as signs:
            signs.serves(lambda: works[0])
            works[0] = False
            await eventually(lambda: not signs.able)
            assert (await ask(port, "/readyz")).status_code == 503

    run(scene())


def test_a_loop_that_is_kept_busy_is_said_to_hang(port, monkeypatch):
    monkeypatch.setattr(vital_signs, "HUNG_S", 1.5)

    async def scene():
        async with health_told(ServerSettings(health_port=port)):
            began = time.monotonic()
            statuses = set()
            while time.monotonic() - began < 20 and 503 not in statuses:
                answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=20)
                statuses.add(answer.status_code)  # the loop has no turn meanwhile
                time.sleep(0.05)
            assert statuses == {200, 503}
            assert answer.json()["code"] == "loop_hangs"
            for _ in range(400):
                await asyncio.sleep(0.05)
                if (await ask(port)).status_code == 200:
                    return
            raise AssertionError("it is not well again")

    run(scene())


def test_a_port_that_is_taken_is_told_with_what_helps(port):
    async def scene():
        async with health_told(ServerSettings(health_port=port)):
            with pytest.raises(OSError, match=f"{port} cannot be listened on.*server.health_port"):
                async with health_told(ServerSettings(health_port=port)):
                    pass

    run(scene())


def test_without_a_port_nothing_is_told_and_nothing_runs():
    async def scene():
        before = asyncio.all_tasks()
        async with health_told(ServerSettings()) as signs:
            assert asyncio.all_tasks() == before
            signs.serves(lambda: True)
            signs.ends()

    run(scene())
