"""What engines promise beside whose servers talk as OpenAI's do.

But for the stand-in they answer with a real model.
"""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.contracts.engine_cases import CASES, HERE, Up, brought_up, play
from tests.unit.engines.launched import until


@pytest.fixture(scope="module", params=[name for name in HERE if CASES[name].talks_as_openai])
def up(request) -> Iterator[Up]:
    with brought_up(CASES[request.param]) as ready:
        yield ready


async def chat(client: httpx.AsyncClient, url: str, words: str, **changes) -> httpx.Response:
    order = {"messages": [{"role": "user", "content": words}], "max_tokens": 24, "temperature": 0}
    return await client.post(f"{url}/v1/chat/completions", json=order | changes)


def test_it_answers_under_the_name_of_its_model(up):
    async def scene(engine, spec):
        url = up.server.endpoint.url
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await chat(client, url, "What is the capital of France?")
            models = await client.get(f"{url}/v1/models")
        assert answer.status_code == 200
        words = answer.json()["choices"][0]["message"]["content"]
        reads_files = up.case.kind.reads_files
        assert ("Paris" in words) if reads_files else ("capital of France" in words)
        assert models.json()["data"][0]["id"] == spec.name

    play(up.case, scene)


def test_use_shows_while_it_talks_and_ends_when_the_client_leaves(up):
    async def scene(engine, spec):
        endpoint = up.server.endpoint
        at_rest = await engine.use(endpoint)
        assert at_rest.busy_slots == 0

        async def busy(count: int) -> bool:
            return (await engine.use(endpoint)).busy_slots == count

        async with httpx.AsyncClient(timeout=60) as client:
            talk = asyncio.create_task(
                chat(client, endpoint.url, "Count.", max_tokens=900, ignore_eos=True)
            )
            await until(lambda: busy(1))
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
        await until(lambda: busy(0), every_s=1.5)  # see LlamaTalker.use
        used = await engine.use(endpoint)
        assert used.served_total > at_rest.served_total

    play(up.case, scene)
