"""`keep_alive`: how long a model stays after its last use, as Ollama's clients say it."""

import math
import re

from orchestrator.config.scalars import SECONDS_MAX

# A negative one means for ever. So it is not left for being idle; it leaves where its room is
# needed, as Ollama's own does. It is no pin: Home Assistant sends -1 unless told otherwise, and a
# pin of every caller's would leave no room to anybody.
FOR_EVER_S = SECONDS_MAX

_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "": 1.0,  # a number in quotes: Ollama refuses it, and what it means is clear
}
_STEP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"([-+]?)((?:{_STEP.pattern})+|\d+(?:\.\d*)?)", re.ASCII)
DURATION_CHARS_MAX = 64


def idle_s(said: float | str) -> float:
    """Idle seconds after which it may leave; 0: as soon as it is idle. Raise ValueError."""
    seconds = _seconds(said) if isinstance(said, str) else said
    if isinstance(said, bool) or math.isnan(seconds):
        raise ValueError("should be a number of seconds")
    return FOR_EVER_S if seconds < 0 else min(seconds, FOR_EVER_S)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip()) if len(text) <= DURATION_CHARS_MAX else None
    if found is None:
        raise ValueError('should be seconds or a duration such as "5m", "1h30m" or -1')
    sign, length = found[1], found[2]
    steps = _STEP.findall(length) or [(length, "")]
    total = sum(float(number) * _UNITS_S[unit] for number, unit in steps)
    return -total if sign == "-" else total
