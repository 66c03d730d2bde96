"""Traffic for the tables that are played in virtual time: what clients ask for, by seed.

A trace is what one client asks, in order: each request follows its predecessor's answer after a
pause. Sizes are those of usual models at four bits; a load reads two gigabytes in a second.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stage import ROOT  # the path first

from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.replay.trace import VirtualDevice

__all__ = ["ROOT"]

READ_BYTES_PER_S = 2 * GiB
START_S = 1.5  # of a server, before it reads
SIZES_GIB = {
    "chat-32b": 19.5,
    "coder-14b": 9.5,
    "vision-12b": 9.0,
    "chat-8b": 6.0,
    "coder-7b": 5.0,
    "writer-9b": 6.5,
    "whisper": 3.5,
    "chat-3b": 2.8,
    "draft-1b": 1.4,
    "rerank": 1.2,
    "embed": 0.8,
    "guard-1b": 1.6,
}


@dataclass(frozen=True)
class Asked:
    model: ModelName
    pause_s: float  # since the answer before
    serves_s: float


def spec(name: str, size_gib: float) -> ModelSpec:
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName("bench"),
        footprint=Footprint(device_bytes=int(size_gib * GiB)),
        load_s=START_S + size_gib * GiB / READ_BYTES_PER_S,
        load_known=True,
    )


def catalogue(sizes: Mapping[str, float]) -> dict[ModelName, ModelSpec]:
    return {ModelName(name): spec(name, size) for name, size in sizes.items()}


def card(size_gib: float) -> VirtualDevice:
    return VirtualDevice(
        id=DeviceId("gpu"), name=f"{size_gib:g} GB", total_bytes=int(size_gib * GiB)
    )


def zipf_weights(count: int, exponent: float = 1.0) -> list[float]:
    return [1 / rank**exponent for rank in range(1, count + 1)]


# --- what one client asks --------------------------------------------------------------------


def _ask(rng: random.Random, model: str, pause_s: float, serves_s: float) -> Asked:
    return Asked(ModelName(model), rng.expovariate(1 / pause_s), rng.uniform(0.5, 1.5) * serves_s)


def _zipf(rng: random.Random) -> Iterator[Asked]:
    """Anybody asks for anything, some models more than others: no request follows from another."""
    names = rng.sample(sorted(SIZES_GIB), len(SIZES_GIB))
    weights = zipf_weights(len(names))
    while True:
        yield _ask(rng, rng.choices(names, weights)[0], 30, 5)


def _rag(rng: random.Random) -> Iterator[Asked]:
    """A question is embedded, its passages are ranked, a chat model answers. Now and then a scan is
    read in, and a long answer is wanted of the large model.
    """
    while True:
        yield _ask(rng, "embed", 60, 0.3)
        yield _ask(rng, "rerank", 0.2, 0.8)
        yield _ask(rng, rng.choices(["chat-8b", "chat-32b"], [5, 1])[0], 0.2, 12)
        if rng.random() < 0.12:
            for _ in range(rng.randrange(2, 6)):
                yield _ask(rng, "vision-12b", 1, 4)
                yield _ask(rng, "embed", 0.5, 0.3)


def _agent(rng: random.Random) -> Iterator[Asked]:
    """A task is planned by the large model; a coder, a guard and a small one go to and fro."""
    while True:
        yield _ask(rng, "chat-32b", 90, 15)
        coder = rng.choice(["coder-14b", "coder-7b"])
        for _ in range(rng.randrange(3, 9)):
            yield _ask(rng, coder, 1.5, 8)
            yield _ask(rng, "guard-1b", 0.3, 0.4)
            if rng.random() < 0.4:
                yield _ask(rng, rng.choice(["chat-3b", "embed"]), 0.5, 2)
        if rng.random() < 0.3:
            yield _ask(rng, "vision-12b", 2, 5)


def _phases(rng: random.Random) -> Iterator[Asked]:
    """For an hour or so a few models are wanted, and then others: what was popular is not now."""
    names = sorted(SIZES_GIB)
    while True:
        few = rng.sample(names, 4)
        for _ in range(rng.randrange(40, 80)):
            wanted = rng.choice(names) if rng.random() < 0.05 else None
            yield _ask(rng, wanted or rng.choices(few, zipf_weights(4, 0.7))[0], 45, 6)


KINDS: Mapping[str, Callable[[random.Random], Iterator[Asked]]] = {
    "zipf": _zipf,
    "RAG": _rag,
    "agent": _agent,
    "phases": _phases,
}


def trace(kind: str, seed: int, length: int) -> Sequence[Asked]:
    asked = KINDS[kind](random.Random(f"{kind}/{seed}"))
    return [next(asked) for _ in range(length)]
