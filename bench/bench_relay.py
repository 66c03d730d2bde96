"""What the relay adds to a warm request, beside the least that any proxy in Python would.

    python bench/bench_relay.py [--rounds 5] [--seconds 2]

The least is uvicorn, an application without anything, and aiohttp's client, which is what relays in
Python are made of. One chat request in JSON, a server that answers at once (nginx), wrk: one
connection for the latency, 32 for the rate. All ways are measured in turns, round by round, and
medians are told. What counts are the ratios: a machine that does other things slows all of them.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import charts
import httpx
import uvicorn
from bench_edge import ANSWER, SERVER, nginx
from by_wrk import BODY, PATH, Way, in_turns
from stage import config, say_load

from tests.scenarios.daemon import free_port, running

ADDED_MAX, RATE_MIN = 1.3, 0.75
START_S_MAX = 20.0


@contextmanager
def least(server: int) -> Iterator[int]:
    port = free_port()
    with subprocess.Popen([sys.executable, __file__, "--least", f"{server},{port}"]) as process:
        try:
            until_answers(port)
            yield port
        finally:
            process.terminate()


def until_answers(port: int) -> None:
    ends_s = time.monotonic() + START_S_MAX
    while time.monotonic() < ends_s:
        with contextlib.suppress(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{port}{PATH}", json=BODY, trust_env=False)
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers at {port}")


def serve_least(server: int, port: int) -> None:
    session: aiohttp.ClientSession | None = None

    async def app(scope, receive, send) -> None:
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        body = (await receive())["body"]
        url = f"http://127.0.0.1:{server}{scope['path']}"
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=body, headers=headers) as answer:
            head = [(name.lower(), value) for name, value in answer.raw_headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.run(app, port=port, access_log=False, log_level="error", lifespan="off")


@contextmanager
def ways() -> Iterator[dict[str, int]]:
    """The port of each way to the same server."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-relay-")))
        server = free_port()
        answers = SERVER.format(port=server, answer=json.dumps(ANSWER))
        stack.enter_context(nginx(here, "server", answers))
        at = {"engine": "llama_cpp", "runtime": "external", "url": f"http://127.0.0.1:{server}"}
        wishes = config({"a": {"service": "there", "vram_mb": 10}}, services={"there": at})
        (here / "daemon").mkdir()
        daemon = stack.enter_context(running(here / "daemon", wishes))
        daemon.post(PATH, BODY).raise_for_status()  # loads it
        yield {"direct": server, "least": stack.enter_context(least(server)), "relay": daemon.port}


def measure(ports: dict[str, int], rounds: int, seconds: int) -> None:
    heard = in_turns({name: Way(port) for name, port in ports.items()}, rounds, seconds)
    added = {name: of_it.p50_us - heard["direct"].p50_us for name, of_it in heard.items()}
    for name, of_it in heard.items():
        print(
            f"{name:8s} p50 {of_it.p50_us:6.0f} us, p99 {of_it.p99_us:6.0f}; adds "
            f"{added[name]:6.0f} us; 32 connections {of_it.per_s:7.0f}/s, "
            f"{of_it.cpu_us:5.0f} us of processor a request"
        )
        rounds_us = [each.p50_us - heard["direct"].p50_us for each in of_it.alone]
        if name != "direct":
            charts.bar("The relay: added on one connection", "us", name, added[name], rounds_us)
    share = statistics.median(
        ours.per_s / theirs.per_s
        for ours, theirs in zip(heard["relay"].crowd, heard["least"].crowd, strict=True)
    )
    times = added["relay"] / added["least"]
    for reached, said in (
        (times <= ADDED_MAX, f"adds {times:.2f} times the least, at most {ADDED_MAX}"),
        (share >= RATE_MIN, f"{100 * share:.0f} % of its rate, at least {100 * RATE_MIN:.0f} %"),
    ):
        print(f"relay    {said}: {'reached' if reached else 'MISSED'}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--least", help=argparse.SUPPRESS)
    charts.add_option(arguments)
    said = arguments.parse_args()
    if said.least is not None:
        server, port = map(int, said.least.split(","))
        serve_least(server, port)
        return
    say_load("before")
    with ways() as ports:
        measure(ports, said.rounds, said.seconds)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
