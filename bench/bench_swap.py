"""What a swap takes beyond the servers' own stop and start, from a request to its first byte.

    python bench/bench_swap.py [--swaps 20] [--load-s 0.2]
    python bench/bench_swap.py --real
    DOCKER_HOST=$(tests/tools/start_dockerd.sh | tail -1) python bench/bench_swap.py --docker

Two models that do not fit together are asked for by turns, through the gateway; after a swap the
same servers are stopped, started and asked by hand, with the same words: the bare server; and
every peer in the room swaps as well. Where the daemon's part goes is told by its own log (`serve
--verbose`).
"""

import argparse
import contextlib
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import bench_docker
import charts
import httpx
import peers
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
from peers.llama_router import CONTEXT, THREADS
from peers.program import Model, Program
from stage import Daemon, config, model, percentile, say_load

from tests.contracts import docker_parts
from tests.scenarios.containers import Engine, llama_image, settings, smollm
from tests.scenarios.daemon import running
from tests.scenarios.world import smollm_file

OVER_MS_MAX = 20.0  # at the median
OVER_P95_MS_MAX = 60.0
IDLE_S = 0.3  # between a swap and the next
OURS, HAND = "ours, through the gateway", "by hand"
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


# --- peers ----------------------------------------------------------------------------------------


@contextmanager
def resident(found: Sequence[Program], models: Sequence[Model]) -> Iterator[Sequence[Program]]:
    """Those of the peers that swap, started; the second of the models was asked for last."""
    able = []
    with contextlib.ExitStack() as stack:
        for peer in found:
            stack.callback(peer.stop)
            peer.start(models)
            try:
                with httpx.Client(trust_env=False) as http:
                    for name in NAMES * 2:
                        first_byte(http, peer.url, name)
            except (httpx.HTTPError, AssertionError) as error:
                print(f"peer: {peer.name} did not swap these: {error!r:.200}")
            else:
                able.append(peer)
        yield able


def with_port(words: Sequence[str], after: str = "--port") -> list[str]:
    """The same words for another server."""
    own = list(words)
    own[own.index(after) + 1] = "{port}"
    return own


def container_words(hand: bench_docker.ByHand, name: str) -> Model:
    """What an operator writes into a peer's file; a signal does not end a container in time."""
    own = f"bench-{name}-{uuid.uuid4().hex[:8]}"
    docker = ("docker", "--host", hand.url)
    words = (*docker, "run", "--rm", "--name", own, *hand.options_at("127.0.0.1:{port}"))
    return Model(name, (*words, *hand.command), (*docker, "stop", own))


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
    parser.add_argument("--real", action="store_true", help="llama-server, not the stand-in")
    parser.add_argument("--docker", action="store_true", help="llama-server, in containers")
    charts.add_option(parser)
    peers.add_options(parser)
    return parser.parse_args()


def in_containers(said: argparse.Namespace, room: peers.Room) -> None:
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
                models = [container_words(bare.hand, name) for name in NAMES]
                try:
                    with resident(room.with_any_server(), models) as found:
                        bare.swap()
                        compare(started, bare, said, found)
                finally:
                    for each in models:
                        words = (*each.stop_words[:3], "rm", "--force", each.stop_words[-1])
                        subprocess.run(words, check=False, capture_output=True)
        finally:
            started.clean_up()
            engine.clean_up(started)
            engine.close()


def main() -> None:
    said = arguments()
    room = peers.in_the_room(said)
    say_load("before")
    room.say()
    if said.docker:
        in_containers(said, room)
    elif said.real:
        as_processes(said, room)
    else:
        with_stand_ins(said, room)
    say_load("after")
    charts.keep(said.json)


def with_stand_ins(said: argparse.Namespace, room: peers.Room) -> None:
    fake = {"load_s": said.load_s, "tokens_per_s": 1000}
    models = {name: model(VRAM_MB, fake=fake) for name in NAMES}
    with (
        daemon(models, devices={"fake": [CARD]}) as started,
        bare_stand_in(said.load_s) as bare,
        resident(room.with_any_server(), [Model(n, bare.words) for n in NAMES]) as found,
    ):
        for name in NAMES:
            first_byte(started.http, started.url, name)
        bare.swap()
        compare(started, bare, said, found)


def as_processes(said: argparse.Namespace, room: peers.Room) -> None:
    file = smollm_file().resolve()
    binary = room.llama_server()
    if binary is None:
        raise SystemExit("there is no llama-server: tests/tools/build_llama_cpp.sh")
    of_a_model = {"service": "llama", "file": str(file), "threads": THREADS}
    models = {name: of_a_model | {"context_size": CONTEXT} for name in NAMES}
    own = {"engine": "llama_cpp", "runtime": "process", "binary": str(binary)}
    services = {"llama": own | {"allowed_roots": [str(file.parent)]}}
    devices = {"fake": [CARD | {"total_mb": 1000}]}  # one takes 752 MB
    with daemon(models, devices=devices, services=services) as started:
        for name in NAMES:
            first_byte(started.http, started.url, name)
        words = with_port(started.servers()[0].cmdline())
        theirs = [Model(name, words, file=file) for name in NAMES]
        with bare_llama(started) as bare, resident(room.peers, theirs) as found:
            bare.swap()
            compare(started, bare, said, found)


def compare(
    started: Daemon,
    bare: ByHand | InDocker,
    said: argparse.Namespace,
    found: Sequence[Program],
) -> None:
    by_hand, table = [], Table()
    taken_s: dict[str, list[float]] = {OURS: [], HAND: []} | {peer.name: [] for peer in found}
    with httpx.Client(trust_env=False) as http:
        for turn in range(said.swaps):
            name = NAMES[turn % 2]
            time.sleep(IDLE_S)
            began_s = time.time()
            taken_s[OURS].append(first_byte(started.http, started.url, name))
            table.add(steps_since(started, began_s), began_s, began_s + taken_s[OURS][-1])
            time.sleep(IDLE_S)
            by_hand.append(bare.swap())
            taken_s[HAND].append(sum(by_hand[-1].values()))
            for peer in found:
                time.sleep(IDLE_S)
                taken_s[peer.name].append(first_byte(http, peer.url, name))
    what = "in Docker" if said.docker else "llama-server" if said.real else "a stand-in"
    say(what, taken_s)
    print("where our time went, in ms:")
    table.say()
    print("of the same servers by hand, in ms:")
    for name in by_hand[0]:
        taken = [1e3 * steps[name] for steps in by_hand]
        print(f"  {name:32s} p50 {percentile(taken, 50):6.1f}  p95 {percentile(taken, 95):6.1f}")


def say(what: str, taken_s: dict[str, list[float]]) -> None:
    """Every way beside the servers by hand, in the same words whoever loses."""
    at_ms = {
        name: [1e3 * percentile(values, percent) for percent in (50, 95)]
        for name, values in taken_s.items()
    }
    for name, (median_ms, worst_ms) in at_ms.items():
        over, over_worst = median_ms - at_ms[HAND][0], worst_ms - at_ms[HAND][1]
        told = f"; beyond by hand {over:+5.0f}, {over_worst:+5.0f}" if name != HAND else ""
        print(f"{name:24s} p50 {median_ms:5.0f} ms, p95 {worst_ms:5.0f} ms{told}")
        rounds = [1e3 * value for value in taken_s[name]]
        charts.bar(f"Swap, {what}: to the first byte", "ms", name, median_ms, rounds)
        if name == OURS:
            reached = over <= OVER_MS_MAX and over_worst <= OVER_P95_MS_MAX
            print(
                f"  at most {OVER_MS_MAX:+.0f} and {OVER_P95_MS_MAX:+.0f}: "
                f"{'reached' if reached else 'MISSED'}"
            )


if __name__ == "__main__":
    main()
