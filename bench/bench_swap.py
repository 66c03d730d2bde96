"""What a swap takes beyond the servers' own stop and start, from a request to its first byte.

    python bench/bench_swap.py [--swaps 20] [--load-s 0.2]
    python bench/bench_swap.py --llama-server PATH --model FILE.gguf
    DOCKER_HOST=$(tests/tools/start_dockerd.sh | tail -1) python bench/bench_swap.py --docker

Two models that do not fit together are asked for by turns, through the gateway; after a swap the
same servers are stopped, started and asked by hand, with the same words: the bare server. Beside
a real one llama-server's own router swaps as well. Where the daemon's part goes is told by its own
log (`serve --verbose`).
"""

import argparse
import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import bench_docker
import httpx
from by_hand import (
    NAMES,
    VRAM_MB,
    ByHand,
    InDocker,
    bare_llama,
    bare_stand_in,
    first_byte,
    in_docker,
)
from stage import Daemon, config, model, percentile, say_load

from tests.contracts import docker_parts
from tests.scenarios.containers import Engine, llama_image, settings, smollm
from tests.scenarios.daemon import free_port, running

OVER_MS_MAX = 20.0  # at the median
OVER_P95_MS_MAX = 60.0
IDLE_S = 0.3  # between a swap and the next
CARD = {"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.0}
STEP = re.compile(r"^(\S+ \S+) DEBUG +(.+) of (.+): ([0-9.]+) ms$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """What the daemon says of one step; instants are of the wall clock."""

    name: str
    began_s: float
    ended_s: float


@dataclass
class Table:
    """Where the milliseconds of swaps went, by name."""

    spent_ms: list[dict[str, float]] = field(default_factory=list)

    def add(self, steps: Sequence[Step], began_s: float, ended_s: float) -> None:
        """Every moment belongs to the step that began last of those that were under way."""
        edges = {began_s, ended_s} | {s.began_s for s in steps} | {s.ended_s for s in steps}
        marks = sorted(edge for edge in edges if began_s <= edge <= ended_s)
        spent: dict[str, float] = {}
        for start, end in pairwise(marks):
            under_way = [s for s in steps if s.began_s <= start and s.ended_s >= end]
            last = max(under_way, key=lambda s: s.began_s, default=None)
            if last is not None:
                name = last.name
            elif not any(s.began_s < start for s in steps):
                name = "decide"
            elif not any(s.ended_s > start for s in steps):
                name = "answer"
            else:
                name = "between steps"
            spent[name] = spent.get(name, 0.0) + 1e3 * (end - start)
        self.spent_ms.append(spent)

    def say(self) -> None:
        names = dict.fromkeys(name for spent in self.spent_ms for name in spent)
        for name in names:
            taken = [spent.get(name, 0.0) for spent in self.spent_ms]
            print(
                f"  {name:32s} p50 {percentile(taken, 50):6.1f}  p95 {percentile(taken, 95):6.1f}"
            )


# --- the router ---------------------------------------------------------------------------


@dataclass
class Router:
    """llama-server's own, of one model at a time."""

    url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    def swap(self, turn: int) -> float:
        return first_byte(self.http, self.url, NAMES[turn % 2])


@contextmanager
def router(binary: Path, file: Path) -> Iterator[Router]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in NAMES:
            (Path(folder) / f"{name}.gguf").symlink_to(file.resolve())
        port = free_port()
        words = ["--models-dir", folder, "--models-max", "1", "--port", str(port)]
        with subprocess.Popen(
            [str(binary), *words, "-c", "2048", "-t", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                bench_docker.wait_until_ready(f"http://127.0.0.1:{port}")
                one = Router(f"http://127.0.0.1:{port}")
                one.swap(1)
                yield one
            finally:
                server.terminate()


# --- through the gateway --------------------------------------------------------------------------


def steps_since(started: Daemon, began_s: float) -> list[Step]:
    steps = []
    for said in STEP.finditer(started.log()):
        ended_s = datetime.fromisoformat(said[1].replace(",", ".")).timestamp()
        if ended_s >= began_s:
            steps.append(Step(said[2], ended_s - float(said[4]) / 1e3, ended_s))
    return steps


class Verbose(Daemon):
    def start(self) -> float:
        self.words = ("--verbose",)
        return super().start()


@contextmanager
def daemon(models: dict[str, Any], **sections: Any) -> Iterator[Daemon]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running(Path(folder), config(models, **sections), Verbose) as started,
    ):
        yield started


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--load-s", type=float, default=0.2, help="of the stand-in")
    parser.add_argument("--llama-server", type=Path, help="the real one, instead of the stand-in")
    parser.add_argument("--model", type=Path, help="a small GGUF, for the real one")
    parser.add_argument("--docker", action="store_true", help="the real one, in containers")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    return parser.parse_args()


def in_containers(said: argparse.Namespace) -> None:
    engine = Engine(docker_parts.need_engine())
    llama_image(engine.url)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        started = Verbose(Path(folder), settings({name: smollm() for name in NAMES}))
        started.environment |= {"DOCKER_HOST": engine.url}
        try:
            started.start()
            for name in NAMES:
                first_byte(started.http, started.url, name)
            with in_docker(started, engine) as bare:
                bare.swap()
                compare(started, bare, said)
        finally:
            started.clean_up()
            engine.clean_up(started)
            engine.close()


def main() -> None:
    said = arguments()
    say_load("before")
    if said.docker:
        in_containers(said)
    else:
        as_processes(said)
    say_load("after")


def as_processes(said: argparse.Namespace) -> None:
    sections: dict[str, Any] = {"devices": {"fake": [CARD]}}
    if said.llama_server is None:
        models = {
            n: model(VRAM_MB, fake={"load_s": said.load_s, "tokens_per_s": 1000}) for n in NAMES
        }
    else:
        folder = str(said.model.resolve().parent)
        of_a_model = {"service": "llama", "file": str(said.model.resolve()), "threads": 1}
        models = {name: of_a_model | {"context_size": 2048} for name in NAMES}
        own = {"engine": "llama_cpp", "runtime": "process", "binary": str(said.llama_server)}
        sections["services"] = {"llama": own | {"allowed_roots": [folder]}}
        sections["devices"] = {"fake": [CARD | {"total_mb": 1000}]}  # one takes 752 MB
    with daemon(models, **sections) as started:
        for name in NAMES:
            first_byte(started.http, started.url, name)
        if said.llama_server is None:
            by_hand, peer = bare_stand_in(said.load_s), contextlib.nullcontext()
        else:
            by_hand, peer = bare_llama(started), router(said.llama_server, said.model)
        with by_hand as bare, peer as routed:
            bare.swap()
            compare(started, bare, said, routed)


def compare(
    started: Daemon,
    bare: ByHand | InDocker,
    said: argparse.Namespace,
    routed: Router | None = None,
) -> None:
    swaps_s, by_hand, routed_s, table = [], [], [], Table()
    for turn in range(said.swaps):
        time.sleep(IDLE_S)
        began_s = time.time()
        swaps_s.append(first_byte(started.http, started.url, NAMES[turn % 2]))
        table.add(steps_since(started, began_s), began_s, began_s + swaps_s[-1])
        time.sleep(IDLE_S)
        by_hand.append(bare.swap())
        if routed is not None:
            time.sleep(IDLE_S)
            routed_s.append(routed.swap(turn))
    own_s = [sum(steps.values()) for steps in by_hand]
    median_ms = 1e3 * (percentile(swaps_s, 50) - percentile(own_s, 50))
    worst_ms = 1e3 * (percentile(swaps_s, 95) - percentile(own_s, 95))
    ways = {"through the gateway": swaps_s, "by hand": own_s}
    if routed_s:
        ways["llama-server's router"] = routed_s
    for label, taken_s in ways.items():
        figures = [1e3 * percentile(taken_s, percent) for percent in (50, 95)]
        print(f"{label:24s} p50 {figures[0]:.0f} ms, p95 {figures[1]:.0f} ms")
    reached = median_ms <= OVER_MS_MAX and worst_ms <= OVER_P95_MS_MAX
    print(
        f"  beyond by hand: p50 {median_ms:+.0f} ms (at most {OVER_MS_MAX:.0f}), "
        f"p95 {worst_ms:+.0f} ms (at most {OVER_P95_MS_MAX:.0f}): "
        f"{'reached' if reached else 'MISSED'}"
    )
    print("where the time went, in ms:")
    table.say()
    print("of the same servers by hand, in ms:")
    for name in by_hand[0]:
        taken = [1e3 * steps[name] for steps in by_hand]
        print(f"  {name:32s} p50 {percentile(taken, 50):6.1f}  p95 {percentile(taken, 95):6.1f}")
    if said.json is not None:
        said.json.write_text(json.dumps({"swaps_s": swaps_s, "by_hand_s": own_s}))


if __name__ == "__main__":
    main()
