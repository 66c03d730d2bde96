"""The word `bench`: how fast a model is, measured through the gateway as any client would ask.

It loads the model like any caller, of low priority, keeps it by a lease while it measures, one
request at a time and none while others use the model, and gives the lease back however it ends.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote
from orchestrator.cli.commands import DONE, FAILED, Unintelligible, loaded, show
from orchestrator.cli.screen import complain, waiting
from orchestrator.cli.speed_lines import bench_lines, kept_lines

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from orchestrator.cli.client import Json

PRIORITY = -100  # whoever else waits for a model goes first
LEASE_S = 300.0  # ends by itself where this process is killed
MEASURING_S_MAX = 240.0  # of all requests together: the lease outlives them
QUIET_S_MAX = 60.0  # until others have finished with the model
LOOK_S = 0.5  # between two looks whether they have
PROMPT_TOKENS, ANSWER_TOKENS, REQUESTS = 512, 128, 3
AROUND_TOKENS = 64  # what a template puts around a prompt, at most
# One token each in nearly every vocabulary.
_WORDS = ("the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "with", "as", "by")


class NotMeasured(Exception):
    """A sentence, and what helps."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="else what was measured is shown")
    for name, default, about in (
        ("--prompt-tokens", PROMPT_TOKENS, "about so many are read"),
        ("--answer-tokens", ANSWER_TOKENS, "so many are written"),
        ("--requests", REQUESTS, "the figures are their medians"),
    ):
        said = f"{about}; else {default}"
        parser.add_argument(name, type=_count, default=default, metavar="N", help=said)
    parser.add_argument("--context-size", type=int, metavar="N")
    parser.add_argument("--gpu-layers", metavar="N|all", help="the rest on the host")
    parser.add_argument("--cache-type", metavar="T", help="of keys and values: f16, q8_0, ...")
    parser.add_argument("--profile", metavar="NAME", help="fast, balanced, quality, ...")
    parser.add_argument("--evict", choices=("never",), help="never: only if no model has to leave")


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise ValueError
    return number


def run(remote: Remote, words: Namespace) -> int:
    """Figures that are kept; exit code 1 where one of them is slower than expected."""
    if words.name is None:
        show(remote.ask("GET", "/benchmarks"), kept_lines, as_json=words.json)
        return DONE
    model = str(_entry(remote, words.name)["id"])
    try:
        with _held(remote, words) as cold:
            entry = _entry(remote, model)
            runs = _measured(remote, entry, words)
            body = _figures(runs) | ({"load_seconds": entry["load_seconds"]} if cold else {})
            path = f"/models/{quote(model, safe='')}/benchmarks"
            answer = remote.ask("POST", path, body)
    except NotMeasured as error:
        complain(*map(str, error.args))
        return FAILED
    show(answer, bench_lines, as_json=words.json)
    speeds: Any = answer.body.get("speeds", ())
    return FAILED if any(speed["drifts"] for speed in speeds) else DONE


@contextmanager
def _held(remote: Remote, words: Namespace) -> Iterator[bool]:
    """The model stays for the length of the block. Whether it was loaded for it as configured, so
    that the catalogue's last load is this one.
    """
    settings = ("context_size", "gpu_layers", "cache_type", "profile", "evict")
    said = {name: value for name in settings if (value := getattr(words, name)) is not None}
    owner = f"bench-{os.getpid()}"
    order: Json = {"model": words.name, "priority": PRIORITY, "owner": owner}
    answer: Any = loaded(remote, {**order, "lease_seconds": LEASE_S, **said}).body
    try:
        yield not answer["already_loaded"] and not said.keys() - {"evict"}
    finally:
        with suppress(RefusedByDaemon, NotReached):  # it ends by itself then
            remote.ask("DELETE", f"/leases/{quote(answer['lease_id'], safe='')}")


def _entry(remote: Remote, name: str) -> dict[str, Any]:
    return dict(remote.ask("GET", f"/models/{quote(name, safe='')}").body)


# --- measuring -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One request, by its server's own figures where it tells them."""

    prompt_tokens: int
    answer_tokens: int
    first_token_s: float
    prompt_per_s: float | None
    answer_per_s: float | None


def _measured(remote: Remote, entry: dict[str, Any], words: Namespace) -> list[Timing]:
    """After one that is not counted: a server's first request finds everything cold."""
    prompt_tokens, answer_tokens = _fitting(entry, words)
    deadline_s = time.monotonic() + MEASURING_S_MAX
    runs: list[Timing] = []
    done = 0

    def progress() -> Iterator[str]:
        while True:
            yield f"{entry['id']}, request {done} of {words.requests}"

    with waiting(progress()):
        for done in range(words.requests + 1):
            _until_quiet(remote, entry["id"])
            answered = ask(remote, entry["id"], prompt_tokens, answer_tokens)
            if done:
                runs.append(answered)
            if time.monotonic() > deadline_s:
                break
    if not runs:
        raise NotMeasured(
            f"One request took more than {MEASURING_S_MAX:.0f} s.",
            "Ask for less: --prompt-tokens, --answer-tokens.",
        )
    return runs


def _fitting(entry: dict[str, Any], words: Namespace) -> tuple[int, int]:
    """How long prompt and answer are: the context of one request holds both."""
    context = entry.get("context_per_slot") or entry.get("context_size")
    if not context:
        return words.prompt_tokens, words.answer_tokens
    room = max(context - AROUND_TOKENS, 2)
    answer = min(words.answer_tokens, room // 2)
    return min(words.prompt_tokens, room - answer), answer


def _until_quiet(remote: Remote, model: str) -> None:
    """What is measured beside others' requests is not the model's speed. Raise NotMeasured."""
    deadline_s = time.monotonic() + QUIET_S_MAX
    while _in_use(remote, model):
        if time.monotonic() > deadline_s:
            raise NotMeasured(
                f"{model} was in use for {QUIET_S_MAX:.0f} s: nothing is measured beside others.",
                "Ask again when it is idle; `orchestrator requests` shows who uses it.",
            )
        time.sleep(LOOK_S)


def _in_use(remote: Remote, model: str) -> bool:
    status: Any = remote.ask("GET", "/models/status").body
    there = status["loaded_models"].get(model)
    if there is None:
        raise NotMeasured(f"{model} has left meanwhile.", "`orchestrator events` says why.")
    return bool(there["in_flight"])


def ask(remote: Remote, model: str, prompt_tokens: int, answer_tokens: int) -> Timing:
    """One request. Raise NotMeasured, RefusedByDaemon or NotReached."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(prompt_tokens)}],
        "max_tokens": answer_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": False,
        "ignore_eos": True,
    }
    began_s = time.monotonic()
    first_s = last_s = None
    said: dict[str, Any] = {}
    for event in remote.streamed("/v1/chat/completions", body):
        if "error" in event:
            raise NotMeasured(f"{model} did not answer: {event['error']}", "See its log.")
        if _writes(event):
            last_s = time.monotonic()
            first_s = last_s if first_s is None else first_s
        said |= {key: event[key] for key in ("usage", "timings") if event.get(key)}
    if first_s is None or last_s is None:
        raise NotMeasured(f"{model} wrote nothing.", "Only models that chat can be measured.")
    return _read(said, first_s - began_s, last_s - first_s)


def prompt(tokens: int) -> str:
    """New to the server, so that it has nothing of it in its cache."""
    return " ".join(random.choices(_WORDS, k=max(tokens - AROUND_TOKENS // 2, 1)))  # noqa: S311


def _writes(event: Json) -> bool:
    choices: Any = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return bool(delta.get("content") or delta.get("reasoning_content"))


def _read(said: dict[str, Any], first_token_s: float, writing_s: float) -> Timing:
    try:
        usage, timings = said.get("usage") or {}, said.get("timings") or {}
        prompt_tokens = int(usage.get("prompt_tokens") or timings["prompt_n"])
        answer_tokens = int(usage.get("completion_tokens") or timings["predicted_n"])
        by_prompt = prompt_tokens / first_token_s if first_token_s > 0 else None
        by_answer = (answer_tokens - 1) / writing_s if writing_s > 0 else None
        return Timing(
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            first_token_s=first_token_s,
            prompt_per_s=timings.get("prompt_per_second") or by_prompt,
            answer_per_s=timings.get("predicted_per_second") or by_answer,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unintelligible(f"the model's server says no tokens: {error!r}") from error


def _figures(runs: list[Timing]) -> Json:
    def middle(values: list[float | None]) -> float | None:
        told = [value for value in values if value]
        return median(told) if told else None

    figures: Json = {
        "generation_tokens_per_second": middle([run.answer_per_s for run in runs]),
        "prompt_tokens_per_second": middle([run.prompt_per_s for run in runs]),
        "first_token_seconds": median(run.first_token_s for run in runs),
        "prompt_tokens": round(median(run.prompt_tokens for run in runs)),
        "answer_tokens": round(median(run.answer_tokens for run in runs)),
        "requests": len(runs),
    }
    return figures
