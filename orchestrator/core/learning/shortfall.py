"""What a model lacked that has just run out of memory: worked out where it can be, else guessed."""

from dataclasses import dataclass

from orchestrator.core.values.vram import MiB

OOM_GROWTH = 1.25  # after an out-of-memory of unknown size; vendors' own retries use 1.2 to 1.5
OOM_GROWTH_BYTES_MIN = 256 * MiB  # a small model that ran out lacked a context, not a percentage
# Of one that seemed to need no more than it had: memory is given out in pieces, and what lies
# between them is of no use to it.
LACKED_BYTES_MIN = 128 * MiB
# Guesses on guesses end at twice what was believed before the first of them: if twice is not
# enough, memory is not the cause. What figures show goes beyond.
RAISED_FRACTION_MAX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What is known of it, in bytes of one device: the fullest of those that its layers lie on.

    None: not known.
    """

    promised_bytes: int
    raised_bytes: int = 0  # of those: guesses after earlier ones
    held_bytes: int | None = None  # when it was last looked at
    asked_bytes: int | None = None  # the allocation that failed
    spare_bytes: int | None = None  # what the device had for it beyond its promise

    @property
    def promise_kept(self) -> bool:
        """Whether the device had for it what it was promised, as far as that is known."""
        return self.spare_bytes is None or self.spare_bytes >= 0

    @property
    def shown_bytes(self) -> int | None:
        """What it lacked at least. What failed is part of what it was promised, like the rest."""
        if self.held_bytes is None or self.asked_bytes is None:
            return None
        return self.held_bytes + self.asked_bytes - self.promised_bytes

    @property
    def lacked_bytes(self) -> int:
        """By how much to promise it more; never so that guesses add up without an end."""
        return min(self._likely_bytes(), max(self._guesses_left_bytes(), self.shown_bytes or 0))

    def _likely_bytes(self) -> int:
        if self.shown_bytes is None:
            likely = max(int(self.promised_bytes * (OOM_GROWTH - 1)), OOM_GROWTH_BYTES_MIN)
        else:
            likely = max(self.shown_bytes, LACKED_BYTES_MIN)
        if self.spare_bytes is None or self.asked_bytes is None:
            return likely
        # The last sample is stale. It failed with promise + spare; without the failed allocation it
        # would have fitted: the lack lies between the two.
        return max(likely, min(self.spare_bytes + LACKED_BYTES_MIN, self.asked_bytes))

    def _guesses_left_bytes(self) -> int:
        first_bytes = self.promised_bytes - self.raised_bytes
        most_bytes = max(int(first_bytes * RAISED_FRACTION_MAX), 2 * OOM_GROWTH_BYTES_MIN)
        return max(most_bytes - self.raised_bytes, 0)
