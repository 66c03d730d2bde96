"""What nginx with our Lua adds to a request: beside plain nginx, and beside the daemon's relay.

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
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from stage import config, percentile, say_load

from orchestrator.access.keys.form import digest_of, new_id, new_key
from orchestrator.access.keys.record import ApiKey, KeyScope
from tests.contracts.edge_plane_parts import edge_alone
from tests.scenarios.daemon import free_port, running
from tests.scenarios.edged import EdgedDaemon

ADDED_MAX, RATE_MIN, PICTURE_MS_MAX = 1.6, 0.80, 5.0
KEYED_US_MAX = 60  # what the edge with keys adds to plain nginx, on one connection
KEYED = "edge, keys"
PATH = "/v1/chat/completions"
BODY = {"model": "a", "messages": [{"role": "user", "content": "hi there, how are you today?"}]}
PICTURE_BYTES, PICTURES = 10_000_000, 15
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
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
def ways() -> Iterator[dict[str, int]]:
    """The port of each way to the same server."""
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
        KEYS[keyed] = secret
        yield {
            "direct": server,
            "plain nginx": plain,
            "edge": daemon.edge_port,
            KEYED: keyed,
            "relay": relay,
        }


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


KEYS: dict[int, str] = {}  # that are shown, by port


def wrk(port: int, connections: int, seconds: int) -> tuple[float, float]:
    """Microseconds of the median, and requests a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"wrk.method='POST'; wrk.body='{json.dumps(BODY)}'; "
            "wrk.headers['Content-Type']='application/json';"
        )
        if port in KEYS:
            script.write(f"wrk.headers['Authorization']='Bearer {KEYS[port]}'")
        script.flush()
        threads = min(2, connections)
        words = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "-s"]
        url = f"http://127.0.0.1:{port}{PATH}"
        done = subprocess.run(
            ["wrk", *words, script.name, url], capture_output=True, text=True, check=True
        )
    said = done.stdout
    assert "Non-2xx" not in said, said
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert median is not None
    assert rate is not None
    return float(median[1]) * UNITS[median[2]], float(rate[1])


def in_turns(
    ports: dict[str, int], rounds: int, seconds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Of every way: the median latency on one connection in us; requests/s on 32, by round."""
    latency_us: dict[str, list[float]] = {name: [] for name in ports}
    rate: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            latency_us[name].append(wrk(port, 1, seconds)[0])
        for name, port in ports.items():
            rate[name].append(wrk(port, 32, seconds)[1])
    return {name: statistics.median(values) for name, values in latency_us.items()}, rate


def small(ports: dict[str, int], rounds: int, seconds: int) -> None:
    middle, rate = in_turns(ports, rounds, seconds)
    added = {name: value - middle["direct"] for name, value in middle.items()}
    for name in ports:
        share = statistics.median(
            one / plain for one, plain in zip(rate[name], rate["plain nginx"], strict=True)
        )
        print(
            f"{name:12s} p50 {middle[name]:7.0f} us  adds {added[name] / added['plain nginx']:5.2f}"
            f" times what plain nginx adds; 32 connections {statistics.median(rate[name]):7.0f}/s,"
            f" {100 * share:3.0f} % of plain nginx"
        )
        if name == KEYED:
            more_us = middle[name] - middle["plain nginx"]
            print(f"{'':12s} {more_us:.0f} us more than plain nginx")
            verdict(more_us <= KEYED_US_MAX, f"at most {KEYED_US_MAX} us more")
        if name == "edge":
            verdict(added[name] / added["plain nginx"] <= ADDED_MAX, f"at most x{ADDED_MAX}")
            verdict(share >= RATE_MIN, f"at least {100 * RATE_MIN:.0f} % of its rate")


def verdict(reached: bool, target: str) -> None:
    print(f"{'':12s} target {target}: {'reached' if reached else 'MISSED'}")


def pictures(ports: dict[str, int]) -> None:
    """The model named behind the picture: the worse case, and that of OpenAI's own client."""
    data = "".join(random.Random(1).choices("abcdefghijklmnop+/", k=PICTURE_BYTES))
    body = json.dumps({"messages": [{"image_url": data}], "model": "a"}).encode()
    times_s: dict[str, list[float]] = {name: [] for name in ports if name != KEYED}
    beside_s: list[float] = []
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
            )
            for name, port in ports.items()
            if port not in KEYS
        }
        headers = {"Content-Type": "application/json"}
        ended = threading.Event()
        other = threading.Thread(target=ask_small, args=(ports["edge"], ended, beside_s))
        other.start()
        for _ in range(PICTURES):
            for name, client in clients.items():
                began_s = time.perf_counter()
                client.post(PATH, content=body, headers=headers).raise_for_status()
                times_s[name].append(time.perf_counter() - began_s)
        ended.set()
        other.join()
    for name, values in times_s.items():
        print(f"{name:12s} a picture of 10 MB: {1e3 * statistics.median(values):6.1f} ms")
    more_ms = 1e3 * (statistics.median(times_s["edge"]) - statistics.median(times_s["plain nginx"]))
    verdict(more_ms <= PICTURE_MS_MAX, f"{PICTURE_MS_MAX:g} ms more than plain nginx")
    slowest_ms = 1e3 * percentile(beside_s, 99)
    print(f"{'edge':12s} small requests beside them: p99 {slowest_ms:.1f} ms of {len(beside_s)}")


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
    said = arguments.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("no wrk here: apt-get install wrk")
    say_load("before")
    with ways() as ports:
        small(ports, said.rounds, said.seconds)
        pictures(ports)
    say_load("after")


if __name__ == "__main__":
    main()
