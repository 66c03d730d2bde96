"""Runs the steps, one process after the other, and writes the page after each of them.

    python bench/gpu/measure.py --server LLAMA_SERVER --donor SMOLLM2 --out DIR [--rehearse]

`run` beside it says where the parts come from. A step that fails or hangs is written down with its
problem, and the next one goes on; one that does not fit into what is left of --seconds is left
out. Steps that figures.jsonl in --out calls done are not run again.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

import page
import steps_bytes
import steps_life
import steps_swaps
from card import Card
from figures import Figures, Outcome
from kit import Kit

from tests.preloaded import preloaded

DAEMON = "tests.scenarios.daemon_program"
SECONDS = 235.0  # a card is lent for minutes, and its start is counted too
REHEARSAL_S = 900.0  # some twenty on a machine that does nothing else
END_S = 5.0  # between a step's bound and its end by force
LEFT_S_MIN = 3.0  # with less than this left, a step is not begun


@dataclass(frozen=True, slots=True)
class Step:
    run: Callable[[Kit], None]
    bound_s: float

    @property
    def name(self) -> str:
        return self.run.__name__


# What would be missed most comes first.
STEPS = (
    Step(steps_life.made_here, 20),
    Step(steps_life.machine, 20),
    Step(steps_life.contract, 40),
    Step(steps_bytes.footprints, 75),
    Step(steps_swaps.releases, 30),
    Step(steps_life.fallback, 20),
    Step(steps_bytes.processes, 30),
    Step(steps_life.layers, 25),
    Step(steps_swaps.swaps, 60),
    Step(steps_life.adoption, 25),
    Step(steps_swaps.together, 25),
    Step(steps_bytes.context, 25),
    Step(steps_swaps.loading, 60),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures on a card what we promise of one.")
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--donor", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for model files: gone at the end")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", nargs="*", metavar="STEP", help="these and no others")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    figures = Figures(asked.out / "figures.jsonl", asked.rehearse)
    kit = Kit(Card(asked.rehearse, asked.work), figures, asked.server, asked.donor, asked.work)
    if asked.rehearse:
        preloaded(DAEMON)
    seconds = asked.seconds or (REHEARSAL_S if asked.rehearse else SECONDS)
    ends_s = time.monotonic() + seconds
    try:
        for step in STEPS:
            if (asked.only and step.name not in asked.only) or step.name in figures.done():
                continue
            attempt(step, kit, ends_s)
            page.write(figures, asked.out)
    finally:
        shutil.rmtree(asked.work, ignore_errors=True)
    page.write(figures, asked.out)
    failed = [outcome for outcome in figures.read()[1] if outcome.problem]
    return 1 if failed else 0


def attempt(step: Step, kit: Kit, ends_s: float) -> None:
    """In a process of its own: whatever it does, the next one goes on."""
    left_s = ends_s - time.monotonic()
    if left_s < LEFT_S_MIN:
        kit.figures.ended(Outcome(step.name, 0.0, "left out: no time was left"))
        return
    began_s = time.monotonic()
    bound_s = min(step.bound_s, left_s) if not kit.card.rehearsed else left_s
    kit.figures.begin(step.name)
    context = multiprocessing.get_context("fork")
    problems = context.SimpleQueue()
    process = context.Process(target=_run, args=(step, kit, began_s + bound_s, problems))
    process.start()
    process.join(bound_s + END_S)
    if process.is_alive():
        process.kill()
        process.join()
        problem = f"it had not ended after {bound_s:.0f} s"
    elif problems.empty():
        problem = f"it ended with {process.exitcode}"
    else:
        problem = problems.get()
    for left in leftovers(kit.directory):
        left.kill()
    kit.figures.ended(Outcome(step.name, round(time.monotonic() - began_s, 1), problem))


def leftovers(directory: Path) -> Iterator[psutil.Process]:
    """What a step that was ended by force left running: servers of its models, its daemon."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        said = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
        if process.pid != os.getpid() and any(word.startswith(f"{directory}/") for word in said):
            yield process


def _run(step: Step, kit: Kit, deadline_s: float, problems: "multiprocessing.SimpleQueue") -> None:
    kit.step, kit.deadline_s = step.name, deadline_s
    try:
        kit.card.open()
        step.run(kit)
    except Exception as error:  # noqa: BLE001 - whatever it was is written down
        problems.put(f"{type(error).__name__}: {str(error)[:600]}")
    else:
        problems.put("")
    finally:
        kit.card.close()


if __name__ == "__main__":
    sys.exit(main())
