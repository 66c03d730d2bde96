"""Swap time: one real llama.cpp container for another, through the daemon and by hand.

    DOCKER_HOST=$(tests/tools/start_dockerd.sh) python bench/bench_docker.py [--swaps 10]

By hand is `docker stop; docker rm; docker run` with the same image, command and limits, and a
look at /health every 25 ms, as the daemon looks. Both take turns in one run, on the same machine.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from stage import percentile, say_load, say_times

from tests.contracts import docker_parts as parts
from tests.scenarios.containers import Engine, llama_image, settings, smollm
from tests.scenarios.daemon import Daemon

LOOK_S = 0.025
PATIENCE_S = 60.0


def docker(url: str, *words: str) -> str:
    done = subprocess.run(
        ["docker", "--host", url, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class ByHand:
    """What an operator would type, for a container like those of the daemon."""

    def __init__(self, url: str, like: dict) -> None:
        self.url = url
        host = like["HostConfig"]
        mount = host["Mounts"][0]
        self._options: tuple[str, ...] = (
            *("--init", "--read-only", "--cap-drop", "ALL", "--user", like["Config"]["User"]),
            *("--security-opt", "no-new-privileges", "--pids-limit", str(host["PidsLimit"])),
            *("--tmpfs", f"/tmp:{host['Tmpfs']['/tmp']}", "--shm-size", str(host["ShmSize"])),
            *("--volume", f"{mount['Source']}:{mount['Target']}:ro"),
            *("--entrypoint", like["Path"].rpartition("/")[2]),
        )
        self.command = (like["Config"]["Image"], *like["Config"]["Cmd"])
        self._current: str | None = None

    def options_at(self, address: str) -> tuple[str, ...]:
        """Its server is published there."""
        return (*self._options, "--publish", f"{address}:8080")

    def swap(self) -> float:
        began_s = time.perf_counter()
        self.stop()
        self.start()
        return time.perf_counter() - began_s

    def start(self) -> str:
        """Its address, once it is ready."""
        words = ("run", "--detach", *self.options_at("127.0.0.1:"), *self.command)
        self._current = docker(self.url, *words)
        address = docker(self.url, "port", self._current, "8080/tcp").splitlines()[0]
        wait_until_ready(f"http://{address}")
        return f"http://{address}"

    def stop(self) -> None:
        if self._current is not None:
            docker(self.url, "stop", self._current)
            docker(self.url, "rm", "--volumes", self._current)
            self._current = None


def wait_until_ready(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=1) as http:
        ends_s = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < ends_s:
            try:
                if http.get(f"{url}/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(LOOK_S)
    raise AssertionError(f"{url} never became ready")


@contextmanager
def daemon_of(engine: Engine) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory), settings({"a": smollm(), "b": smollm()}))
        daemon.environment |= {"DOCKER_HOST": engine.url}
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.clean_up()
            engine.clean_up(daemon)


def swap(daemon: Daemon, to: str) -> float:
    began_s = time.perf_counter()
    daemon.load(to)
    return time.perf_counter() - began_s


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--swaps", type=int, default=10)
    swaps = arguments.parse_args().swaps
    engine = Engine(parts.need_engine())
    llama_image(engine.url)
    say_load("before")
    through_us: list[float] = []
    by_hand: list[float] = []
    with daemon_of(engine) as daemon:
        daemon.load("a")
        hand = ByHand(engine.url, engine.only(daemon))
        hand.swap()
        try:
            for turn in range(swaps):
                by_hand.append(hand.swap())
                through_us.append(swap(daemon, "ba"[turn % 2]))
        finally:
            hand.stop()
    engine.close()
    say_load("after")
    say_times("docker stop; docker rm; docker run", by_hand)
    say_times("POST /models/load", through_us, by_hand)
    ratio = percentile(through_us, 50) / percentile(by_hand, 50)
    print(f"a swap through the daemon takes {ratio:.2f} times that by hand")


if __name__ == "__main__":
    main()
