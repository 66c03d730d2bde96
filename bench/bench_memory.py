"""Whether the daemon's memory grows with what it relays.

    python bench/bench_memory.py [--requests 100000]

Its resident memory after every tenth of so many requests that it has carried, beside callers that
ask as fast as they can; and while one body of 1 GB passes to a model, and one answer of 1 GB back.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import aiohttp.web
from stage import Caller, daemon, say_load

CALLERS = 32
BIG_BYTES = 1 << 30
PIECE = b"x" * (1 << 16)
PARTS = 10
GROWTH_MB_MAX = 8.0  # from the second tenth to the last: caches are full by then
BIG_MB_MAX = 16.0
LOOK_S = 0.05
ANSWER = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextlib.asynccontextmanager
async def backend() -> AsyncIterator[str]:
    """A model server of somebody else's: it takes what is sent, and says little, or very much."""

    async def small(request: aiohttp.web.Request) -> aiohttp.web.Response:
        async for _ in request.content.iter_any():
            pass
        return aiohttp.web.Response(text=ANSWER, content_type="application/json")

    async def big(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        for _ in range(BIG_BYTES // len(PIECE)):
            await response.write(PIECE)
        return response

    app = aiohttp.web.Application(client_max_size=2 * BIG_BYTES)
    app.router.add_get("/big", big)
    app.router.add_route("*", "/{path:.*}", small)
    runner = aiohttp.web.AppRunner(app, access_log=None)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def ask_on(caller: Caller, times: int) -> None:
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": "hello"}]}).encode()
    for _ in range(times):
        await caller.post("/v1/chat/completions", body)


async def many(port: int, pid: int, requests: int) -> bool:
    callers = [await Caller.to(port) for _ in range(CALLERS)]
    seen_mb = []
    for part in range(PARTS):
        began_s = time.monotonic()
        await asyncio.gather(*(ask_on(c, requests // PARTS // CALLERS) for c in callers))
        seen_mb.append(rss_mb(pid))
        rate = requests / PARTS / (time.monotonic() - began_s)
        print(
            f"after {requests * (part + 1) // PARTS:>7} requests: "
            f"{seen_mb[-1]:6.1f} MB  {rate:.0f}/s"
        )
    for caller in callers:
        caller.close()
    growth_mb = seen_mb[-1] - seen_mb[1]
    good = growth_mb <= GROWTH_MB_MAX
    verdict = "reached" if good else "MISSED"
    print(f"growth {growth_mb:+.1f} MB, target at most {GROWTH_MB_MAX:.0f} MB: {verdict}")
    return good


async def one_big(port: int, pid: int, what: str) -> bool:
    before_mb = peak_mb = rss_mb(pid)
    url = f"http://127.0.0.1:{port}/upstream/a/{what}"
    began_s = time.monotonic()
    async with aiohttp.ClientSession() as session:
        passing = asyncio.create_task(up(session, url) if what == "sink" else down(session, url))
        while not passing.done():
            peak_mb = max(peak_mb, rss_mb(pid))
            await asyncio.sleep(LOOK_S)
        size = await passing
    good = size == BIG_BYTES and peak_mb - before_mb <= BIG_MB_MAX
    verdict = "reached" if good else "MISSED"
    rate = size / (1 << 20) / (time.monotonic() - began_s)
    print(
        f"{size} bytes {what}: {peak_mb - before_mb:+.1f} MB at most, {rate:.0f} MB/s, "
        f"target {BIG_MB_MAX:.0f} MB: {verdict}"
    )
    return good


async def up(session: aiohttp.ClientSession, url: str) -> int:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BIG_BYTES // len(PIECE)):
            yield PIECE

    headers = {"Content-Length": str(BIG_BYTES), "Content-Type": "application/octet-stream"}
    async with session.post(url, data=pieces(), headers=headers) as answer:
        return BIG_BYTES if answer.status == 200 else answer.status


async def down(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return sum([len(piece) async for piece in answer.content.iter_any()])


async def bench(requests: int) -> bool:
    async with backend() as url:
        service = {"engine": "llama_cpp", "runtime": "external", "url": url}
        models = {"a": {"service": "theirs", "vram_mb": 100}}
        with daemon(
            models, services={"theirs": service}, server={"body_limit_bytes": 2 * BIG_BYTES}
        ) as started:
            await asyncio.to_thread(started.load, "a")
            assert started.process is not None
            pid = started.process.pid
            return all(
                [
                    await many(started.port, pid, requests),
                    await one_big(started.port, pid, "sink"),
                    await one_big(started.port, pid, "big"),
                ]
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    say_load("start")
    good = asyncio.run(bench(options.requests))
    say_load("end")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
