"""The word `simulate`: a history replayed on other devices, or by another rule."""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.commands import DONE, FAILED, MISUSED
from orchestrator.cli.screen import complain, plain, say, say_exactly

if TYPE_CHECKING:
    from orchestrator.replay.scenarios import Scenario
    from orchestrator.replay.trace import Trace

POLICIES = ("regret", "lru", "largest", "fewest", "one-at-a-time")


def arguments(parser: argparse.ArgumentParser) -> None:
    trace = "what `orchestrator events --export` wrote; - for standard input"
    parser.add_argument("trace", metavar="TRACE.jsonl", help=trace)
    vram = "on such devices instead: 48GB, or 24GB+24GB; may be said again"
    parser.add_argument("--vram", metavar="SIZE", action="append", default=[], help=vram)
    more = "with such a device beside those that there are; may be said again"
    parser.add_argument("--add-gpu", metavar="SIZE", action="append", default=[], help=more)
    rule = "who leaves first: regret is the daemon's own rule; may be said again"
    parser.add_argument(
        "--policy", choices=POLICIES, action="append", default=[], dest="policies", help=rule
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(words: argparse.Namespace) -> int:
    """With nothing but a trace: whether a second device like the largest would help."""
    from orchestrator.cli.simulation_lines import simulation_json, simulation_lines
    from orchestrator.replay.history import TraceInvalid, read_trace
    from orchestrator.replay.scenarios import Scenario, played

    try:
        if words.trace == "-":
            trace = read_trace(sys.stdin)
        else:
            with Path(words.trace).open(encoding="utf-8") as file:
                trace = read_trace(file)
    except TraceInvalid as error:
        complain(plain(f"{words.trace}, {error}."))
        return FAILED
    except (OSError, UnicodeError) as error:
        complain(plain(f"{words.trace} cannot be read: {error}."))
        return FAILED
    try:
        wanted = scenarios(trace, words)
    except ValueError as error:
        complain(plain(f"{error}."))
        return MISUSED
    base = Scenario(title="replayed", devices=trace.devices)
    replayed = (base, played(trace, base))
    others = [(scenario, played(trace, scenario)) for scenario in wanted]
    if words.json:
        say_exactly(json.dumps(simulation_json(trace, replayed, others), indent=2))
    else:
        say(*simulation_lines(trace, replayed, others))
    return DONE


def scenarios(trace: Trace, words: argparse.Namespace) -> list[Scenario]:
    """Every budget by every policy; the policies alone on what there was. Raise ValueError."""
    from orchestrator.replay.policies import PolicyName
    from orchestrator.replay.scenarios import (
        Scenario,
        on_budget,
        said_size,
        sizes,
        usual_size,
        with_another,
    )

    budgets: list[Scenario] = []
    for text in words.vram:
        wanted = sizes(text)
        title = " + ".join(map(said_size, wanted))
        budgets.append(Scenario(title=title, devices=on_budget(trace, wanted), other_devices=True))
    for text in words.add_gpu:
        wanted = sizes(text)
        title = f"with {' + '.join(map(said_size, wanted))} more"
        budgets.append(Scenario(title=title, devices=with_another(trace, wanted)))
    if not budgets and not words.policies:
        size = usual_size(trace)
        title = f"with {said_size(size)} more"
        budgets.append(Scenario(title=title, devices=with_another(trace, (size,))))
    if not words.policies:
        return budgets
    return [
        Scenario(
            title=f"{budget.title}, {policy}".removeprefix(", "),
            devices=budget.devices,
            policy=PolicyName(policy),
            other_devices=budget.other_devices,
        )
        for budget in budgets or [Scenario(title="", devices=trace.devices)]
        for policy in words.policies
    ]
