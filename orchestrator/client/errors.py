"""ClientError
├── NotAnswered       no answer came, or it broke off
├── NotUnderstood     what answered is not what was asked
├── Refused           an answer that says no: a stable code, the numbers, a remedy
│   ├── UnknownModel    no model is called so
│   ├── DoesNotFit      it fits on no empty device: asking again will not help
│   └── TryLater        not now; `retry_after_s` says when
├── LeaseLost         what was leased may be taken
├── ContextTooSmall   not even the newest turn fits
└── NotChosen         it is not said which server, which model, or it is said wrongly
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClientError(Exception):
    """What was asked for did not come; `remedy` says what would help, where that is known."""

    def __init__(self, detail: str, remedy: str = "") -> None:
        super().__init__(f"{detail} {remedy}".strip())
        self.detail = detail
        self.remedy = remedy


class NotAnswered(ClientError):
    """No answer came, or it broke off. `timed_out`: the server was silent for too long."""

    def __init__(self, detail: str, remedy: str = "", *, timed_out: bool = False) -> None:
        super().__init__(detail, remedy)
        self.timed_out = timed_out


class NotUnderstood(ClientError):
    """What answered does not speak as was expected: another program, or another version."""


class Refused(ClientError):
    """The server said no. `code` is stable; `members` has all numbers that explain it."""

    def __init__(
        self, status: int, code: str, detail: str, remedy: str, members: Mapping[str, object]
    ) -> None:
        super().__init__(detail, remedy)
        self.status = status
        self.code = code
        self.members = members

    @property
    def retry_after_s(self) -> float | None:
        """When asking again may help, in seconds from the answer; None: nobody knows."""
        return self._number("retry_after_seconds")

    @property
    def needed_mb(self) -> float | None:
        return self._number("needed_mb")

    @property
    def available_mb(self) -> float | None:
        return self._number("available_mb")

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines of a model server's log, where it failed."""
        lines = self.members.get("log_tail")
        return tuple(map(str, lines)) if isinstance(lines, list) else ()

    def _number(self, name: str) -> float | None:
        value = self.members.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number else None  # type: ignore[return-value]


class UnknownModel(Refused):
    """No model is called so; the detail names the nearest names."""


class DoesNotFit(Refused):
    """It would not fit on empty devices either: asking again will not help."""


class TryLater(Refused):
    """Not now: no room, a full queue, a server that still loads."""


class LeaseLost(ClientError):
    """The lease ended before it was given back: what it kept may be taken by others."""

    def __init__(self, lease_id: str, detail: str) -> None:
        super().__init__(f"Lease {lease_id} is lost: {detail}", "Take a new one.")
        self.lease_id = lease_id


class ContextTooSmall(ClientError):
    """The system message and the newest turn alone have more tokens than there is room for."""

    def __init__(self, needed_tokens: int, available_tokens: int) -> None:
        super().__init__(
            f"The newest turn takes {needed_tokens} tokens; there is room for {available_tokens}.",
            "Shorten it, or load the model with a larger context_size.",
        )
        self.needed_tokens = needed_tokens
        self.available_tokens = available_tokens


class NotChosen(ClientError):
    """It is not said which server or model is meant, or said in a way that means none."""
