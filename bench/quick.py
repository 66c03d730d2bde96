"""Whether a commit has made something slower, in under a minute: ratios against peers in one run.

    python bench/quick.py [--write]

Each figure is what we take, in terms of what a peer takes for the same beside it, in turns; of the
processor, where that is what counts, because a busy machine slows clocks and not what work costs.
They are compared with `quick.json`, which `--write` writes anew: one that is worse by more than its
spread, there or here, is a failure. Needs nginx with Lua, and wrk.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import bench_edge
import bench_streams
import bench_swap
from stage import measured, model, say_load

COMMITTED = Path(__file__).with_name("quick.json")
SPREAD_MIN = 0.15  # of a ratio: what the same code differs by from run to run on a busy machine
SWAPS, ROUNDS, WRK_S = 8, 3, 1
STREAMS, STREAM_S = 64, 2.0

Ratios = dict[str, list[float]]


def swaps() -> Ratios:
    fake = {"load_s": 0.2, "tokens_per_s": 1000}
    models = {name: model(bench_swap.VRAM_MB, fake=fake) for name in bench_swap.NAMES}
    ratios = []
    with (
        bench_swap.daemon(models, devices={"fake": [bench_swap.CARD]}) as started,
        bench_swap.bare_stand_in(0.2) as bare,
    ):
        for name in bench_swap.NAMES:
            bench_swap.first_byte(started.http, started.url, name)
        bare.swap()
        for turn in range(SWAPS):
            time.sleep(bench_swap.IDLE_S)
            name = bench_swap.NAMES[turn % 2]
            ours_s = bench_swap.first_byte(started.http, started.url, name)
            ratios.append(ours_s / sum(bare.swap().values()))
    return {"a swap, of the server's own stop, start and first token": ratios}


def requests() -> Ratios:
    ratios: Ratios = {}
    with bench_edge.ways() as ports:
        carriers = {name: [*bench_streams.carriers(port)] for name, port in ports.items()}
        for _ in range(ROUNDS):
            cost = {}
            for name in ("plain nginx", "edge", "relay"):
                before_s = bench_streams.cpu_s(carriers[name])
                rate = bench_edge.wrk(ports[name], 32, WRK_S)[1]
                cost[name] = (bench_streams.cpu_s(carriers[name]) - before_s) / rate
            for name in ("edge", "relay"):
                said = f"processor of a request, {name}, of plain nginx's"
                ratios.setdefault(said, []).append(cost[name] / cost["plain nginx"])
    return ratios


def streams() -> Ratios:
    ratios = []
    with bench_streams.ways() as table:
        for _ in range(ROUNDS):
            cost = {}
            for name in ("edge", "relay"):
                port, processes = table[name]
                before_s = bench_streams.cpu_s(processes)
                heard = measured(bench_streams.listen(port, STREAMS, STREAM_S))
                cost[name] = (bench_streams.cpu_s(processes) - before_s) / len(heard)
            ratios.append(cost["relay"] / cost["edge"])
    return {"processor of a piece of a stream, relay, of the edge's": ratios}


def spread(values: Sequence[float]) -> float:
    """Half of what the middle half of them lies apart."""
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="these are the figures from now on")
    write = arguments.parse_args().write
    say_load("before")
    ratios = {**swaps(), **requests(), **streams()}
    say_load("after")
    found = {
        name: {"ratio": round(statistics.median(values), 3), "spread": round(spread(values), 3)}
        for name, values in ratios.items()
    }
    if write:
        COMMITTED.write_text(json.dumps(found, indent=2) + "\n")
    committed = json.loads(COMMITTED.read_text())
    slower = False
    for name, now in found.items():
        was = committed[name]
        most = was["ratio"] + max(SPREAD_MIN * was["ratio"], was["spread"] + now["spread"])
        slower |= now["ratio"] > most
        verdict = "SLOWER" if now["ratio"] > most else "as it was"
        print(
            f"{name:58s} x{now['ratio']:5.2f} ±{now['spread']:.2f}, was x{was['ratio']:5.2f} "
            f"±{was['spread']:.2f}, at most x{most:5.2f}: {verdict}"
        )
    sys.exit(slower)


if __name__ == "__main__":
    main()
