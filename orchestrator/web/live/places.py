"""How many callers may wait or listen at once: each holds a connection for as long as it does.

Unloads need no place: they are what makes room for those who wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

FULL_RETRY_S = 10.0  # loads take seconds to minutes, and their callers leave together
REMEDY = (
    "Retry later; order with `wait: false` and look the operation up, which holds no connection; "
    "or raise the daemon's limit of open files (LimitNOFILE, ulimits) or of memory, which "
    "`orchestrator doctor` tells."
)


class Places:
    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place. Raise Answered if there is none left."""
        if self.taken >= self.most:
            raise Answered(
                ErrorAnswer(
                    code=WebCode.TOO_MANY_CALLERS,
                    detail=f"{self.most} callers wait or listen already.",
                    remedy=REMEDY,
                    retry_after_s=FULL_RETRY_S,
                    headers={"Connection": "close"},
                )
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def too_many_connections(most: int) -> ErrorAnswer:
    """What a connection hears that the daemon has no descriptor to spare for."""
    return ErrorAnswer(
        code=WebCode.TOO_MANY_CALLERS,
        detail=f"{most} connections are open already.",
        remedy=REMEDY,
        retry_after_s=FULL_RETRY_S,
    )
