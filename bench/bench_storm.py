"""Requests at random moments while clients leave, servers die and the daemon is killed.

    python bench/bench_storm.py [--edge] [--requests 100000] [--daemon-kills 10] [--seed 1]

Six models of which three fit, asked through the gateway, streaming and not by turns. A fifth of the
clients hangs up at a random moment; now and then a model server is killed, and the daemon. In the
end nothing may be left: no lease, no request under way; and nobody was answered by another model
than the one that was asked for. With --edge nginx stands before the daemon: no request for a model
that is ready may be refused then while the daemon is dead.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from stage import Daemon, config, cpu_s, model, say_load

from tests.scenarios.daemon import running
from tests.scenarios.edged import EdgedDaemon

MODELS = tuple("abcdef")
FITTING = 3
FOCUS_S = 10.0  # so long most requests name the same few models: as users do
STRAYS = 0.001  # the part that names any other
LEAVING = 0.2
LEAVES_S_MAX = 0.05
WORKERS = 48
A_SERVER_KILLED_EVERY = 2500  # requests
WAIT_S = 60
AWAY_S = 0.05  # before a client asks again a daemon that is not there
SETTLED_S = 30.0
SLOTS, TOKENS_PER_S = 8, 2000
DEAD_S = 1.0
SAID = re.compile(r"This is (\w+) \(pid")


@dataclass
class Storm:
    port: int
    left_to_ask: int
    dice: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    dead: bool = False  # the daemon, as far as is known
    answered_beside: int = 0  # while it was dead
    refused_warm: list[str] = field(default_factory=list)
    warm: set[str] = field(default_factory=set)  # when it was killed
    focus: tuple[str, ...] = MODELS[:FITTING]
    focused_s: float = 0.0

    def named(self) -> str:
        now_s = time.monotonic()
        if now_s - self.focused_s > FOCUS_S:
            self.focus = tuple(self.dice.sample(MODELS, FITTING))
            self.focused_s = now_s
        return self.dice.choice(MODELS if self.dice.random() < STRAYS else self.focus)

    async def worker(self, session: aiohttp.ClientSession) -> None:
        while self.left_to_ask > 0:
            self.left_to_ask -= 1
            name = self.named()
            leaves = self.dice.random() < LEAVING
            within_s = self.dice.uniform(0, LEAVES_S_MAX) if leaves else None
            dead = self.dead
            try:
                async with asyncio.timeout(within_s):
                    outcome = await self.ask(session, name, streams=self.dice.random() < 0.5)
            except TimeoutError:
                outcome = "left"
            self.outcomes[outcome] += 1
            self.note(name, outcome, dead)
            if outcome == "daemon away":
                self.left_to_ask += 1
                await asyncio.sleep(AWAY_S)

    def note(self, name: str, outcome: str, dead: bool) -> None:
        """What came of a request that began, and ended, while the daemon was dead."""
        if dead and self.dead:
            self.answered_beside += outcome == "answered"
            if outcome.startswith("refused") and name in self.warm:
                self.refused_warm.append(f"{name}: {outcome}")

    async def ask(self, session: aiohttp.ClientSession, name: str, *, streams: bool) -> str:
        message = {"role": "user", "content": "hello"}
        body = {"model": name, "stream": streams, "max_tokens": 6, "messages": [message]}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            async with session.post(url, json=body) as answer:
                text = await answer.text()
        except aiohttp.ClientConnectorError:
            return "daemon away"
        except aiohttp.ClientError:
            return "cut"
        said = _said(text, streams=streams and answer.status == 200)
        if said is None:
            return f"refused ({_code(text)})"
        if said != name:
            self.wrong.append(f"{name} was asked for, {said} answered")
        return "answered"


def _said(text: str, *, streams: bool) -> str | None:
    """Which model says that it has answered."""
    if streams:
        pieces = re.findall(r'"content": ?"((?:[^"\\]|\\.)*)"', text)
        text = "".join(pieces)
    found = SAID.search(text)
    return None if found is None else found[1]


def _code(text: str) -> str:
    found = re.search(r'"code": ?"?(\w+)', text)
    return found[1] if found else text[:60]


async def kill(started: Daemon, storm: Storm, total: int, times: int) -> None:
    """Servers and the daemon, spread over all requests."""
    steps = sorted(
        [(storm.dice.random(), "server") for _ in range(total // A_SERVER_KILLED_EVERY)]
        + [((n + storm.dice.random()) / times, "daemon") for n in range(times)]
    )
    for part, what in steps:
        while storm.left_to_ask > total * (1 - part):  # noqa: ASYNC110 - many workers lower it
            await asyncio.sleep(0.02)
        if what == "server":
            if servers := started.servers():
                os.kill(storm.dice.choice(servers).pid, signal.SIGKILL)
        else:
            loaded = started.status()["loaded_models"]
            ready = [name for name, one in loaded.items() if one["status"] == "loaded"]
            storm.warm = {name for name in ready if started.servers(name)}  # none was just killed
            await asyncio.to_thread(started.kill)
            storm.dead = True
            await asyncio.sleep(DEAD_S)
            storm.dead = False
            await asyncio.to_thread(started.start)


async def settled(started: Daemon) -> list[str]:
    """What is left when all clients are gone; nothing, within a bound."""
    until_s = time.monotonic() + SETTLED_S
    while True:
        status = started.status()
        running = started.http.get("/requests").json()["running"]
        left = [f"request {one['id']} of {one['asked']}" for one in running]
        for name, loaded in status["loaded_models"].items():
            left += [f"a lease on {name}: {lease}" for lease in loaded["leases"]]
            left += [f"{name} is in use"] * (loaded["busy"] or loaded["in_flight"] > 0)
        if not left or time.monotonic() > until_s:
            return left
        await asyncio.sleep(0.2)


async def rage(started: Daemon, total: int, kills: int, seed: int, *, edge: bool) -> int:
    storm = Storm(started.port, total, random.Random(seed))
    assert started.process is not None
    began_s = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        killing = asyncio.create_task(kill(started, storm, total, kills))
        await asyncio.gather(*(storm.worker(session) for _ in range(WORKERS)))
        await killing
    taken_s = time.monotonic() - began_s
    left = await settled(started)
    print(f"{total} requests in {taken_s:.0f} s: {json.dumps(dict(storm.outcomes.most_common()))}")
    print(f"killed: {total // A_SERVER_KILLED_EVERY} servers, the daemon {kills} times")
    print(f"answered by the wrong model: {len(storm.wrong)} {storm.wrong[:3]}")
    print(f"left in the end: {len(left)} {left[:5]}")
    print(
        f"while the daemon was dead: {storm.answered_beside} answered, "
        f"{len(storm.refused_warm)} refused by a model that was ready {storm.refused_warm[:3]}"
    )
    print(f"processor time of the daemon's last life: {cpu_s(started.process.pid):.0f} s")
    return len(left) + len(storm.wrong) + (len(storm.refused_warm) if edge else 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--daemon-kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--edge", action="store_true", help="nginx with Lua before the daemon")
    options = parser.parse_args()
    say_load("start")
    quick = {"tokens_per_s": TOKENS_PER_S}
    catalogue = {name: model(10_000, slots=SLOTS, fake=quick) for name in MODELS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        kind = EdgedDaemon if options.edge else Daemon
        with running(Path(folder), config(catalogue), kind) as started:
            raging = rage(
                started, options.requests, options.daemon_kills, options.seed, edge=options.edge
            )
            bad = asyncio.run(raging)
    say_load("end")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
