"""Whether a commit has made something slower, in under a minute: ratios to a bare server beside it.

    python bench/quick.py [--write]

A figure is what we take in terms of what the bare server takes for the same, in turns within one
run. A busy machine must not look like a slower commit: what is compared is the best of some rounds,
of the processor's time where work is meant, and of the fastest tenth of requests where waiting is.
What is worse than in `quick.json` by more than its room is measured again, with more rounds, and is
a failure if all of them are worse. `--write` writes the file anew. Needs nginx with Lua.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bench_streams
import bench_swap
import by_hand
import quick_stage
from stage import Daemon, measured, model, say_load

COMMITTED = Path(__file__).with_name("quick.json")
# Of a ratio, what a crowd on the machine may add; a swap is mostly an interpreter that starts, of
# which a minute has too few for its best to be the same every time.
ROOM = {"processor of a swap": 0.8, "processor": 0.6, "waiting": 0.8}
REQUESTS = {"bare": 1000, "edge": 1000, "relay": 400}
WARM_UP = 200
STREAMS, STREAM_S = 32, 1.5
LOAD_S = 0.2
Samples = dict[str, dict[str, list[float]]]  # of a figure: ours, and the bare server's


@dataclass
class Figures:
    samples: Samples = field(default_factory=dict)

    def add(self, figure: str, ours: float, bare: float) -> None:
        of_it = self.samples.setdefault(figure, {"ours": [], "bare": []})
        of_it["ours"].append(ours)
        of_it["bare"].append(bare)

    def ratios(self) -> dict[str, float]:
        """Of the best of us to the best of the bare server."""
        return {
            figure: min(of_it["ours"]) / min(of_it["bare"])
            for figure, of_it in self.samples.items()
        }


# --- what is measured ----------------------------------------------------------------------------


def requests(figures: Figures, rounds: int) -> None:
    with quick_stage.ways() as ways:
        for way in ways.values():
            measured(quick_stage.one_after_another(way.port, WARM_UP))
        for _ in range(rounds):
            cost_s, waited_s = {}, {}
            for name, way in ways.items():

                def ask(
                    name: str = name, way: quick_stage.Way = way, waited_s: dict = waited_s
                ) -> int:
                    asked = quick_stage.one_after_another(way.port, REQUESTS[name])
                    waited_s[name] = measured(asked)
                    return REQUESTS[name]

                cost_s[name] = quick_stage.cost(way, ask)
            for name in ("edge", "relay"):
                figures.add(f"processor of a request, {name}", cost_s[name], cost_s["bare"])
                figures.add(f"waiting for an answer, {name}", waited_s[name], waited_s["bare"])


def streams(figures: Figures, rounds: int) -> None:
    with quick_stage.ways() as ways:
        for _ in range(rounds):
            cost_s = {}
            for name, way in ways.items():

                def hear(way: quick_stage.Way = way) -> int:
                    return len(measured(bench_streams.listen(way.port, STREAMS, STREAM_S)))

                cost_s[name] = quick_stage.cost(way, hear)
            for name in ("edge", "relay"):
                label = f"processor of a piece of a stream, {name}"
                figures.add(label, cost_s[name], cost_s["bare"])


def swaps(figures: Figures, rounds: int) -> None:
    fake = {"load_s": LOAD_S, "tokens_per_s": 1000}
    models = {name: model(by_hand.VRAM_MB, fake=fake) for name in by_hand.NAMES}
    with (
        bench_swap.daemon(models, devices={"fake": [bench_swap.CARD]}) as started,
        by_hand.bare_stand_in(LOAD_S) as bare,
    ):
        for name in by_hand.NAMES:
            by_hand.first_byte(started.http, started.url, name)
        bare.swap()
        for turn in range(2 * rounds):
            ours_s, taken_s = one_swap(started, by_hand.NAMES[turn % 2])
            time.sleep(bench_swap.IDLE_S)
            bare_s = sum(bare.swap().values())
            figures.add("waiting for a swap", ours_s, bare_s)
            figures.add("processor of a swap", taken_s, bare.cpu_s())


def one_swap(started: Daemon, name: str) -> tuple[float, float]:
    """What its caller waits, and what it takes of the daemon."""
    time.sleep(bench_swap.IDLE_S)
    assert started.process is not None
    way = quick_stage.Way(started.port, frozenset([started.process.pid]))
    before_s = way.cpu_s()
    waited_s = by_hand.first_byte(started.http, started.url, name)
    return waited_s, way.cpu_s() - before_s


PARTS: dict[Callable[[Figures, int], None], int] = {requests: 5, streams: 2, swaps: 4}


# --- what is told --------------------------------------------------------------------------------


def room(figure: str, was: float) -> float:
    return was * (1 + next(more for begins, more in ROOM.items() if figure.startswith(begins)))


def slower(figures: Figures, committed: dict[str, float]) -> list[str]:
    ratios = figures.ratios()
    return [name for name, ratio in ratios.items() if ratio > room(name, committed[name])]


def say(figures: Figures, committed: dict[str, float]) -> None:
    worse = slower(figures, committed)
    for name, ratio in figures.ratios().items():
        was = committed[name]
        print(
            f"{name:42s} x{ratio:6.2f} of the bare server's, was x{was:6.2f}, "
            f"at most x{room(name, was):6.2f}: {'SLOWER' if name in worse else 'as it was'}"
        )


def compared(parts: Sequence[Callable[[Figures, int], None]]) -> bool:
    """Whether all is as it was, in the second look where not in the first."""
    committed = json.loads(COMMITTED.read_text())
    good = True
    for part in parts:
        figures = Figures()
        part(figures, PARTS[part])
        if slower(figures, committed):
            say(figures, committed)
            say_load("looked at again, with twice the rounds")
            part(figures, 2 * PARTS[part])
        say(figures, committed)
        good &= not slower(figures, committed)
    return good


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="these are the figures from now on")
    write = arguments.parse_args().write
    began_s = time.monotonic()
    say_load("before")
    if write:
        figures = Figures()
        for part, rounds in PARTS.items():
            part(figures, 2 * rounds)
        found = {name: round(ratio, 2) for name, ratio in figures.ratios().items()}
        COMMITTED.write_text(json.dumps(found, indent=2) + "\n")
        print(COMMITTED.read_text())
        good = True
    else:
        good = compared(list(PARTS))
    say_load(f"after {time.monotonic() - began_s:.0f} s")
    sys.exit(not good)


if __name__ == "__main__":
    main()
