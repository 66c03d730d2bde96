"""What a `kill -9` of the program between clients and models costs, while four clients ask.

    python bench/bench_recovery.py [--kills 3]

It is started again at once, as a service manager does, with the same words. What counts is how long
until a request is answered again that began after the kill, how many requests were lost (under way
when it died) and refused (begun before it served again), and how many model servers run on with
which the new one has nothing to do. The same in every way, with stand-ins that load within 0.2 s;
a peer that starts only a server of its own has a small real model.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import bench_contention
import charts
import httpx
import peers
from by_hand import bare_stand_in
from peers.ours import Ours
from stage import say_load

from tests.scenarios.world import smollm_file

CLIENTS = 4
TOKENS = 5
AGAIN_S = 0.02  # after a request that was refused
BEFORE_S, AFTER_S = 1.0, 1.0  # of load, around a kill
SERVES_S_MAX = 20.0
WAITS_S_MAX = 10.0


@dataclass
class Requests:
    """What became of all of them, by when they began and ended."""

    answered: list[tuple[float, float]] = field(default_factory=list)
    failed: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Told:
    again_s: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)
    never: int = 0


async def client(http: httpx.AsyncClient, peer: peers.Peer, seen: Requests) -> None:
    while True:
        began_s = time.monotonic()
        failed = await bench_contention.ask(http, peer.url, "a", TOKENS)
        (seen.failed if failed else seen.answered).append((began_s, time.monotonic()))
        if failed:
            await asyncio.sleep(AGAIN_S)


async def one_kill(http: httpx.AsyncClient, peer: peers.Peer, told: Told) -> None:
    seen = Requests()
    clients = [asyncio.create_task(client(http, peer, seen)) for _ in range(CLIENTS)]
    await asyncio.sleep(BEFORE_S)
    killed_s = time.monotonic()
    await asyncio.to_thread(peer.kill)
    starting = asyncio.create_task(asyncio.to_thread(peer.start_again))
    while not (again := [end_s for began_s, end_s in seen.answered if began_s > killed_s]):
        if time.monotonic() - killed_s > SERVES_S_MAX:
            break
        await asyncio.sleep(AGAIN_S)
    await starting
    await asyncio.sleep(AFTER_S)
    for each in clients:
        each.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    if again:
        told.again_s.append(again[0] - killed_s)
    else:
        told.never += 1
    told.lost.append(sum(began_s <= killed_s < end_s for began_s, end_s in seen.failed))
    told.refused.append(sum(began_s > killed_s for began_s, _ in seen.failed))
    told.unused.append(await asyncio.to_thread(peer.unused))


async def killed(peer: peers.Peer, kills: int) -> Told:
    told = Told()
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=WAITS_S_MAX, trust_env=False, limits=limits) as http:
        assert not await bench_contention.ask(http, peer.url, "a", 1)
        for _ in range(kills):
            await one_kill(http, peer, told)
            if told.never:
                break  # the next would begin with nothing that serves
    return told


def say(name: str, told: Told) -> None:
    again = "never within 20 s" if told.never else "?"
    if told.again_s:
        most_s = max(told.again_s)
        middle_s = statistics.median(told.again_s)
        again = f"after {middle_s:5.2f} s, at most {most_s:5.2f}"
        again += f", and {told.never} times not within {SERVES_S_MAX:g} s" if told.never else ""
    print(
        f"{name:21s} serves again {again}; of a kill, at most: lost {max(told.lost)}, refused "
        f"{max(told.refused)}; servers left to nobody in the end {told.unused[-1]}"
    )
    times = told.again_s or [SERVES_S_MAX]
    charts.bar("Recovery: serves again", "s", name, statistics.median(times), times)
    charts.bar("Recovery: lost", "requests of a kill", name, max(told.lost))
    charts.bar("Recovery: refused", "requests of a kill", name, max(told.refused))
    charts.bar("Recovery: servers left to nobody", "servers", name, told.unused[-1])


def measure(those: Sequence[peers.Peer], models: Sequence[peers.Model], kills: int) -> None:
    for peer in those:
        try:
            peer.start(models)
            told = asyncio.run(killed(peer, kills))
        finally:
            peer.stop()
        say(peer.name, told)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--kills", type=int, default=3)
    peers.add_options(arguments)
    charts.add_option(arguments)
    said = arguments.parse_args()
    room = peers.in_the_room(said)
    say_load("before")
    room.say()
    fake = {"load_s": bench_contention.LOAD_S, "tokens_per_s": 50, "slots": CLIENTS}
    ours = [Ours(fake=fake), *([Ours(fake=fake, edged=True)] if peers.edge_can_be_here() else [])]
    with bare_stand_in(bench_contention.LOAD_S, 50, CLIENTS) as bare:
        models = [peers.Model("a", bare.words)]
        measure([*ours, *room.with_any_server()], models, said.kills)
    own = [each for each in room.peers if each.own_server]
    measure(own, [peers.Model("a", file=smollm_file())] if own else [], said.kills)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
