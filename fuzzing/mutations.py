"""Makes inputs out of seeds by chance, the same ones for the same number."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

INPUT_BYTES_MAX = 1 << 16
EDITS_MAX = 8  # more than that, and nothing of the seed is left to be read
RUN_BYTES_MAX = 64
# Where counts, lengths and offsets end.
NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    (1 << 64) - 1,
)


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises if what is promised of any input does not hold for this one."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()  # what the reader knows: chance alone never finds a long one


@dataclass(frozen=True, slots=True)
class Finding:
    """An input for which a promise does not hold."""

    content: bytes
    error: Exception


def first_finding(target: Target, inputs: Iterator[bytes]) -> Finding | None:
    """Drive the target until it breaks a promise or the inputs end."""
    for content in inputs:
        try:
            target.check(content)
        except Exception as error:  # noqa: BLE001 - whatever it is, it was not promised
            return Finding(content, error)
    return None


def mutations(target: Target, number: int) -> Iterator[bytes]:
    """The seeds themselves, and then mutations of them without an end."""
    yield from target.seeds
    rng = random.Random(number)
    while True:
        yield mutate(rng.choice(target.seeds), target, rng)[:INPUT_BYTES_MAX]


def mutate(seed: bytes, target: Target, rng: random.Random) -> bytes:
    """The same bytes with some edits."""
    content = bytearray(seed)
    for _ in range(rng.randint(1, EDITS_MAX)):
        _edit(content, target, rng)
    return bytes(content)


def _edit(content: bytearray, target: Target, rng: random.Random) -> None:
    at = rng.randint(0, len(content))
    end = min(len(content), at + rng.randint(1, RUN_BYTES_MAX))
    match rng.randrange(8):
        case 0 if at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(content):
            content[at] = rng.randrange(256)
        case 2:
            del content[at:end]
        case 3:
            content[at:at] = content[at:end] * rng.randint(1, 4)
        case 4:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % (1 << 8 * width)
            content[at : at + width] = number.to_bytes(width, "little")
        case 5 if target.words:
            content[at:at] = rng.choice(target.words)
        case 6:
            other = rng.choice(target.seeds)
            content[at:] = other[rng.randint(0, len(other)) :]
        case _:
            del content[at:]
