"""What nginx with our Lua adds to a request: beside plain nginx, the daemon's relay, and peers.

    python bench/bench_edge.py [--rounds 5] [--seconds 2]

One chat request in JSON, a server that answers at once (nginx too), wrk: one connection for the
latency, 32 for the rate. All ways are measured in turns, round by round, and medians are told. What
counts are the ratios: a machine that does other things slows all of them. A picture of 10 MB
follows, and small requests beside pictures. Needs nginx with Lua, and wrk.
"""

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import charts
import httpx
import peers
from by_wrk import BODY, PATH, Rounds, Way, in_turns
from peers.llama_router import LlamaRouter
from stage import config, percentile, say_load

from orchestrator.access.keys.form import digest_of, new_id, new_key
from orchestrator.access.keys.record import ApiKey, KeyScope
from tests.contracts.edge_plane_parts import edge_alone
from tests.scenarios.daemon import free_port, running
from tests.scenarios.edged import EdgedDaemon
from tests.scenarios.world import smollm_file

ADDED_MAX, RATE_MIN, PICTURE_MS_MAX = 1.6, 0.80, 5.0
KEYED_US_MAX = 60  # what the edge with keys adds to plain nginx, on one connection
KEYED, DIRECT, PLAIN_NGINX = "edge, keys", "direct", "plain nginx"
PICTURE_BYTES, PICTURES = 10_000_000, 15
ANSWER = {
    "choices": [
        {
            "finish_reason": "stop",
            "index": 0,
            "message": {"role": "assistant", "content": "Hello! How can I help?"},
        }
    ],
    "created": 1,
    "model": "a",
    "object": "chat.completion",
    "usage": {"completion_tokens": 10, "prompt_tokens": 12, "total_tokens": 22},
    "id": "chatcmpl-1",
    "timings": {"prompt_n": 12, "prompt_ms": 5.5, "predicted_n": 10, "predicted_ms": 20.5},
}
NGINX = """
daemon off; worker_processes 2; pid {here}/{name}.pid; error_log stderr error; {user}
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; client_max_body_size 64m;
    client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;
    uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
    {servers}
}}
"""
SERVER = """
    server {{ listen 127.0.0.1:{port} reuseport;
        location = /health {{ return 200; }}
        location = /slots {{ return 200 '[]'; }}
        location / {{ default_type application/json; return 200 '{answer}'; }} }}
"""
PLAIN = """
    upstream server {{ server 127.0.0.1:{server}; keepalive 128; keepalive_requests 1000000; }}
    server {{ listen 127.0.0.1:{port} reuseport;
        location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Connection ""; }} }}
"""


@contextmanager
def nginx(here: Path, name: str, servers: str) -> Iterator[None]:
    user = "user root;" if Path.home() == Path("/root") else ""
    file = here / f"{name}.conf"
    file.write_text(NGINX.format(here=here, name=name, servers=servers, user=user))
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None, "no nginx here"
    # Each in a session of its own, as the edge is: on a busy machine the kernel shares by sessions.
    words = [program, "-e", "stderr", "-c", str(file)]
    with subprocess.Popen(words, start_new_session=True) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def ways(room: peers.Room) -> Iterator[dict[str, Way]]:
    """To the same server."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-edge-")))
        server, plain = free_port(), free_port()
        answer = json.dumps(ANSWER, separators=(",", ":"))  # as llama-server writes it
        stack.enter_context(nginx(here, "server", SERVER.format(port=server, answer=answer)))
        stack.enter_context(nginx(here, "plain", PLAIN.format(port=plain, server=server)))
        (here / "daemon").mkdir()
        at = {"engine": "llama_cpp", "runtime": "external", "url": f"http://127.0.0.1:{server}"}
        wishes = config({"a": {"service": "there", "vram_mb": 10}}, services={"there": at})
        daemon = stack.enter_context(running(here / "daemon", wishes, EdgedDaemon))
        assert isinstance(daemon, EdgedDaemon)
        while daemon.post(PATH, BODY).headers.raw[-1][0] != b"X-Model":
            time.sleep(0.1)
        relay = int(str(daemon.beside.base_url).rpartition(":")[2])
        keyed, secret = stack.enter_context(with_keys(server))
        at = {DIRECT: server, PLAIN_NGINX: plain, "edge": daemon.edge_port, "relay": relay}
        for peer in room.with_any_server():
            stack.callback(peer.stop)
            peer.start([peers.Model("a", at=server)])
            httpx.post(f"{peer.url}{PATH}", json=BODY, timeout=60, trust_env=False)
            at[peer.name] = peer.port
        ways = {name: Way(port) for name, port in at.items()}
        yield ways | {KEYED: Way(keyed, key=secret)}


@contextmanager
def with_keys(server: int) -> Iterator[tuple[int, str]]:
    """The port of an edge that has a thousand keys, and one of them."""
    with edge_alone() as edge:
        secrets = [new_key(new_id()) for _ in range(1000)]
        edge.tell_keys(
            *(
                ApiKey(
                    id=secret[3:11],
                    digest=digest_of(secret.encode()),
                    name="bench",
                    scopes=(KeyScope.USE,),
                    created_s=0.0,
                    models=("b*", "a*"),
                    requests_per_minute=1_000_000_000,
                    max_in_flight=10_000,
                )
                for secret in secrets
            )
        )
        edge.publish(edge.published(f"http://127.0.0.1:{server}"))
        yield edge.settings.port, secrets[500]


def small(ways: Mapping[str, Way], rounds: int, seconds: int) -> float:
    """Microseconds that plain nginx adds."""
    heard = in_turns(ways, rounds, seconds)
    plain_us = heard[PLAIN_NGINX].p50_us - heard[DIRECT].p50_us
    for name, of_it in heard.items():
        say(name, of_it, heard[DIRECT], plain_us)
        share = statistics.median(
            one.per_s / plain.per_s
            for one, plain in zip(of_it.crowd, heard[PLAIN_NGINX].crowd, strict=True)
        )
        if name == KEYED:
            more_us = of_it.p50_us - heard[PLAIN_NGINX].p50_us
            print(f"{'':21s} {more_us:.0f} us more than plain nginx")
            verdict(more_us <= KEYED_US_MAX, f"at most {KEYED_US_MAX} us more")
        if name == "edge":
            times = (of_it.p50_us - heard[DIRECT].p50_us) / plain_us
            verdict(times <= ADDED_MAX, f"at most x{ADDED_MAX}")
            verdict(share >= RATE_MIN, f"{100 * share:.0f} % of plain nginx's rate, at least 80")
    return plain_us


def say(name: str, of_it: Rounds, direct: Rounds, plain_us: float) -> None:
    """What it adds to its own server, asked directly; the picture shows the same."""
    added_us, late_us = of_it.p50_us - direct.p50_us, of_it.p99_us - direct.p99_us
    alone = [heard.p50_us - direct.p50_us for heard in of_it.alone]
    crowd = [heard.per_s for heard in of_it.crowd]
    print(
        f"{name:21s} p50 {of_it.p50_us:4.0f} us, adds {added_us:4.0f} ({min(alone):.0f} to "
        f"{max(alone):.0f}), {added_us / plain_us:5.2f} times plain nginx, {late_us:+6.0f} to p99; "
        f"32 connections {of_it.per_s:5.0f}/s ({min(crowd):.0f} to {max(crowd):.0f}), "
        f"{of_it.cpu_us:3.0f} us of processor a request"
    )
    if of_it is not direct:
        charts.bar("Warm request: added on one connection", "us", name, added_us, alone)
    of_cpu = [heard.cpu_us for heard in of_it.crowd]
    charts.bar("Warm request: 32 connections", "requests a second", name, of_it.per_s, crowd)
    charts.bar("Warm request: of the processor", "us a request", name, of_it.cpu_us, of_cpu)


def router(peer: LlamaRouter, rounds: int, seconds: int, plain_us: float) -> None:
    """It has no server but its own, whose answers take no model's time at /tokenize."""
    body = {"model": "a", "content": "hi there, how are you today?"}
    peer.start([peers.Model("a", file=smollm_file())])
    try:
        url = f"http://127.0.0.1:{peer.port}"
        httpx.post(f"{url}{PATH}", json=BODY | {"max_tokens": 1}, timeout=60, trust_env=False)
        listens = peer.server_port("a")
        ways = {
            name: Way(port, "/tokenize", body)
            for name, port in (("its own server", listens), (peer.name, peer.port))
        }
        heard = in_turns(ways, rounds, seconds)
    finally:
        peer.stop()
    for name, of_it in heard.items():
        say(name, of_it, heard["its own server"], plain_us)


def verdict(reached: bool, target: str) -> None:
    print(f"{'':21s} target {target}: {'reached' if reached else 'MISSED'}")


def pictures(ways: Mapping[str, Way]) -> None:
    """The model named behind the picture: the worse case, and that of OpenAI's own client."""
    data = "".join(random.Random(1).choices("abcdefghijklmnop+/", k=PICTURE_BYTES))
    body = json.dumps({"messages": [{"image_url": data}], "model": "a"}).encode()
    times_s: dict[str, list[float]] = {name: [] for name in ways if name != KEYED}
    beside_s: list[float] = []
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{way.port}", trust_env=False, timeout=60)
            )
            for name, way in ways.items()
            if name != KEYED
        }
        headers = {"Content-Type": "application/json"}
        ended = threading.Event()
        other = threading.Thread(target=ask_small, args=(ways["edge"].port, ended, beside_s))
        other.start()
        for _ in range(PICTURES):
            for name, client in clients.items():
                began_s = time.perf_counter()
                client.post(PATH, content=body, headers=headers).raise_for_status()
                times_s[name].append(time.perf_counter() - began_s)
        ended.set()
        other.join()
    for name, values in times_s.items():
        middle_ms = 1e3 * statistics.median(values)
        print(f"{name:21s} a picture of 10 MB: {middle_ms:6.1f} ms")
        charts.bar(
            "Warm request: a picture of 10 MB", "ms", name, middle_ms, [1e3 * one for one in values]
        )
    more_ms = 1e3 * (statistics.median(times_s["edge"]) - statistics.median(times_s[PLAIN_NGINX]))
    verdict(more_ms <= PICTURE_MS_MAX, f"{PICTURE_MS_MAX:g} ms more than plain nginx")
    slowest_ms = 1e3 * percentile(beside_s, 99)
    print(f"{'edge':21s} small requests beside them: p99 {slowest_ms:.1f} ms of {len(beside_s)}")


def ask_small(port: int, ended: threading.Event, times_s: list[float]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while not ended.is_set():
            began_s = time.perf_counter()
            client.post(PATH, json=BODY)
            times_s.append(time.perf_counter() - began_s)
            time.sleep(0.005)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    peers.add_options(arguments)
    charts.add_option(arguments)
    said = arguments.parse_args()
    room = peers.in_the_room(said)
    if shutil.which("wrk") is None:
        sys.exit("no wrk here: apt-get install wrk")
    say_load("before")
    room.say()
    with ways(room) as to:
        plain_us = small(to, said.rounds, said.seconds)
        pictures(to)
    for peer in room.peers:
        if isinstance(peer, LlamaRouter):
            router(peer, said.rounds, said.seconds, plain_us)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
