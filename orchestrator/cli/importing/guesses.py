"""What a model takes, guessed where nothing tells: by its file's size, or by how it is called."""

from __future__ import annotations

import re
from pathlib import Path

GUESS_MB = 8192  # of a program whose name says nothing
BESIDE_MB = 1024  # the context and the buffers of a usual model
PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[xX]?(\d+(?:\.\d+)?)?[bB](?![A-Za-z])")
MILLIONS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[mM](?![A-Za-z])")
# Bits of a weight, with what a quantization keeps beside them.
_BITS = (
    (re.compile(r"(?i)(?<![a-z])i?q1|tq1"), 2.0),
    (re.compile(r"(?i)(?<![a-z])i?q2|tq2"), 3.0),
    (re.compile(r"(?i)(?<![a-z])i?q3"), 3.9),
    (re.compile(r"(?i)(?<![a-z])i?q4|mxfp4|nvfp4|awq|gptq|int4|4bit"), 4.9),
    (re.compile(r"(?i)(?<![a-z])q5"), 5.8),
    (re.compile(r"(?i)(?<![a-z])q6"), 6.7),
    (re.compile(r"(?i)(?<![a-z])q8|fp8|int8|8bit"), 8.7),
    (re.compile(r"(?i)f32"), 32.0),
    (re.compile(r"(?i)f16|bf16|fp16"), 16.0),
)
_BITS_DEFAULT = 4.9  # what most people run


def size_mb(*names: str) -> int:
    """By the first of the files that is here, else by the first name that tells; else GUESS_MB."""
    for name in names:
        try:
            if (found := Path(name)).is_file():
                return (found.stat().st_size >> 20) + BESIDE_MB
        except (OSError, ValueError):
            continue
    for name in names:
        if told := _told_by(name):
            return told
    return GUESS_MB


def _told_by(name: str) -> int | None:
    bits = next((amount for sign, amount in _BITS if sign.search(name)), _BITS_DEFAULT)
    if found := PARAMETERS.search(name):
        billions = float(found[1]) * (float(found[2]) if found[2] else 1.0)
    elif found := MILLIONS.search(name):
        billions = float(found[1]) / 1000
    else:
        return None
    if not 0 < billions < 10_000:
        return None
    return int(billions * bits / 8 * 1000) + BESIDE_MB
