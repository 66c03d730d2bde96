"""Requests as fast as wrk can ask: alone on one connection, and among 32; all ways in turns."""

import json
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bench_streams

PATH = "/v1/chat/completions"
BODY = {"model": "a", "messages": [{"role": "user", "content": "hi there, how are you today?"}]}
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Way:
    """One way to a server, and what is asked there."""

    port: int
    path: str = PATH
    body: Mapping[str, Any] = field(default_factory=lambda: BODY)
    key: str = ""  # that is shown


@dataclass(frozen=True)
class Heard:
    """By wrk."""

    p50_us: float
    p99_us: float
    per_s: float
    cpu_us: float  # of those who carry, for one request


def wrk(way: Way, connections: int, seconds: int) -> Heard:
    carriers = [*bench_streams.carriers(way.port)]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"wrk.method='POST'; wrk.body='{json.dumps(way.body)}'; "
            "wrk.headers['Content-Type']='application/json';"
        )
        if way.key:
            script.write(f"wrk.headers['Authorization']='Bearer {way.key}'")
        script.flush()
        threads = min(2, connections)
        words = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "-s"]
        url = f"http://127.0.0.1:{way.port}{way.path}"
        before_s = bench_streams.cpu_s(carriers)
        done = subprocess.run(
            ["wrk", *words, script.name, url], capture_output=True, text=True, check=True
        )
        taken_s = bench_streams.cpu_s(carriers) - before_s
    said = done.stdout
    assert "Non-2xx" not in said, said
    at = {percent: re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", said) for percent in ("50", "99")}
    p50_us, p99_us = (float(one[1]) * UNITS[one[2]] for one in at.values() if one is not None)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    asked = re.search(r"(\d+) requests in", said)
    assert rate is not None
    assert asked is not None
    return Heard(p50_us, p99_us, float(rate[1]), 1e6 * taken_s / int(asked[1]))


@dataclass
class Rounds:
    """What was heard of one way: alone on one connection, and among 32."""

    alone: list[Heard] = field(default_factory=list)
    crowd: list[Heard] = field(default_factory=list)

    @property
    def p50_us(self) -> float:
        return statistics.median(heard.p50_us for heard in self.alone)

    @property
    def p99_us(self) -> float:
        return statistics.median(heard.p99_us for heard in self.alone)

    @property
    def per_s(self) -> float:
        return statistics.median(heard.per_s for heard in self.crowd)

    @property
    def cpu_us(self) -> float:
        return statistics.median(heard.cpu_us for heard in self.crowd)


def in_turns(ways: Mapping[str, Way], rounds: int, seconds: int) -> dict[str, Rounds]:
    heard = {name: Rounds() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            heard[name].alone.append(wrk(way, 1, seconds))
        for name, way in ways.items():
            heard[name].crowd.append(wrk(way, 32, seconds))
    return heard
