"""Two models that cannot share, one of them busy: what the other waits, and what is cut for it.

    python bench/bench_contention.py [--seconds 12] [--tries 4]

Three clients ask for A one request after another, without a pause; a fourth wants B, two seconds
after it had it last. What counts is how long B waits and what A's clients notice of it, and how
much is served in all. Then requests go straight to A's server while B is asked for: they must be
answered whole. Every request has a connection of its own, for some peers a connection that is open
keeps its model. The same in every way to the same servers, stand-ins first, then a real model, for
twice as long. With our defaults a caller is patient for a minute; a second daemon has little.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import charts
import httpx
import peers
from by_hand import bare_stand_in
from peers.ours import Ours
from stage import percentile, say_load

from tests.scenarios.world import smollm_file

CLIENTS = 3
AGAIN_S = 2.0
LOAD_S, TOKENS_PER_S, SLOTS = 0.2, 50, 4
TOKENS = 10  # of an answer of A: 0.2 s of the stand-in
DIRECT_TOKENS = 60
ASKED_AFTER_S = 0.2  # of a direct request's age
PATIENCE_S = 40.0  # of a client
PATIENCE_OF_OURS_S = 2.0  # or ten times what a model takes to load
PATH = "/v1/chat/completions"


@dataclass
class Heard:
    a_s: list[float] = field(default_factory=list)
    b_s: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    waits_s: float | None = None  # B's last request, which has not been answered in the run


def body(name: str, tokens: int, *, stream: bool = False) -> dict[str, object]:
    message = {"role": "user", "content": "Count from one to a thousand."}
    return {"model": name, "max_tokens": tokens, "stream": stream, "messages": [message]}


async def ask(http: httpx.AsyncClient, url: str, name: str, tokens: int) -> str:
    """Empty when it was answered."""
    try:
        answer = await http.post(f"{url}{PATH}", json=body(name, tokens))
    except httpx.TransportError as error:
        return type(error).__name__
    return "" if answer.status_code == httpx.codes.OK else f"HTTP {answer.status_code}"


async def clients_of_a(http: httpx.AsyncClient, url: str, until_s: float, heard: Heard) -> None:
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        failed = await ask(http, url, "a", TOKENS)
        if failed:
            heard.failed[f"a: {failed}"] += 1
            await asyncio.sleep(0.05)
        else:
            heard.a_s.append(time.monotonic() - began_s)


async def client_of_b(http: httpx.AsyncClient, url: str, until_s: float, heard: Heard) -> None:
    while time.monotonic() + AGAIN_S < until_s:
        await asyncio.sleep(AGAIN_S)
        began_s = time.monotonic()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until_s - began_s):
                failed = await ask(http, url, "b", 1)
        except TimeoutError:
            heard.waits_s = time.monotonic() - began_s
            return
        if failed:
            heard.failed[f"b: {failed}"] += 1
        else:
            heard.b_s.append(time.monotonic() - began_s)


async def contend(url: str, seconds: float) -> Heard:
    heard = Heard()
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, limits=limits) as http:
        await ask(http, url, "a", 1)
        until_s = time.monotonic() + seconds
        busy = [clients_of_a(http, url, until_s, heard) for _ in range(CLIENTS)]
        await asyncio.gather(*busy, client_of_b(http, url, until_s, heard))
    return heard


async def direct(peer: peers.Peer, tries: int) -> Counter[str]:
    """How requests ended that went to A's server itself."""
    outcomes: Counter[str] = Counter()
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, limits=limits) as http:
        for _ in range(tries):
            assert not await ask(http, peer.url, "a", 1)
            server = f"http://127.0.0.1:{await asyncio.to_thread(peer.server_port, 'a')}"
            going_on = asyncio.create_task(streamed(http, server))
            await asyncio.sleep(ASKED_AFTER_S)
            over = going_on.done()
            failed = await ask(http, peer.url, "b", 1)
            outcomes["over before" if over else await going_on] += 1
            if failed:
                outcomes[f"b: {failed}"] += 1
    return outcomes


async def streamed(http: httpx.AsyncClient, server: str) -> str:
    text = ""
    try:
        async with http.stream(
            "POST", f"{server}{PATH}", json=body("a", DIRECT_TOKENS, stream=True)
        ) as answer:
            async for piece in answer.aiter_text():
                text += piece
    except httpx.TransportError:
        return "cut"
    return "whole" if text.rstrip().endswith("data: [DONE]") else "cut"


def say(what: str, name: str, heard: Heard, straight: Counter[str], seconds: float) -> None:
    waits = [*heard.b_s, *([heard.waits_s] if heard.waits_s is not None else [])]
    mean_s, most_s = sum(waits) / max(1, len(waits)), max(waits, default=0.0)
    a_s = percentile(heard.a_s, 95) if heard.a_s else 0.0
    served = 60 * (len(heard.a_s) + len(heard.b_s)) / seconds
    waiting = " and was still waiting" if heard.waits_s is not None else ""
    print(
        f"{name:21s} B had it {len(heard.b_s):2d} times{waiting}: waits {mean_s:5.2f} s, at most "
        f"{most_s:5.2f}; A's p95 {a_s:5.2f} s; {served:4.0f} served a minute; "
        f"failed {dict(heard.failed) or 'none'}"
        + (f"; direct requests {dict(straight)}" if straight else "")
    )
    chart = f"Contention, {what}"
    charts.bar(f"{chart}: B waits", "s", name, mean_s, waits)
    charts.bar(f"{chart}: A's p95", "s", name, a_s)
    charts.bar(f"{chart}: served", "requests a minute", name, served)
    if straight:
        charts.bar(f"{chart}: direct requests cut", "% of those tried", name, share_cut(straight))


def share_cut(straight: Counter[str]) -> float:
    ended = straight["cut"] + straight["whole"]
    return 100 * straight["cut"] / ended if ended else 0.0


def measure(
    what: str, those: Sequence[peers.Peer], models: Sequence[peers.Model], said: argparse.Namespace
) -> None:
    """Straight to a server go requests of the stand-ins, or where there can be none."""
    print(f"{what}:")
    real = models[0].file is not None
    seconds = said.seconds * (2 if real else 1)
    for peer in those:
        try:
            peer.start(models)
            heard = asyncio.run(contend(peer.url, seconds))
            tries = 0 if real and not peer.own_server else said.tries
            straight = asyncio.run(direct(peer, tries))
        finally:
            peer.stop()
        say(what, peer.name, heard, straight, seconds)


def with_little_patience(binary: Path | None = None, fake: dict | None = None) -> Ours:
    return Ours(binary=binary, fake=fake, patience_s=PATIENCE_OF_OURS_S)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=12.0)
    arguments.add_argument("--tries", type=int, default=4)
    peers.add_options(arguments)
    charts.add_option(arguments)
    said = arguments.parse_args()
    room = peers.in_the_room(said)
    say_load("before")
    room.say()
    fake = {"load_s": LOAD_S, "tokens_per_s": TOKENS_PER_S, "slots": SLOTS}
    with bare_stand_in(LOAD_S, TOKENS_PER_S, SLOTS) as bare:
        models = [peers.Model(name, bare.words) for name in "ab"]
        measure(
            "stand-ins",
            [Ours(fake=fake), with_little_patience(fake=fake), *room.with_any_server()],
            models,
            said,
        )
    if (binary := room.llama_server()) is not None:
        words = peers.words_of_llama_server(binary, smollm_file())
        models = [peers.Model(name, words, file=smollm_file()) for name in "ab"]
        measure("a real model", [with_little_patience(binary), *room.peers], models, said)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
