"""What bodies of requests take in memory together: one that waits for its model has been read."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

FULL_RETRY_S = 5.0  # requests end all the time, and their bodies with them


class HeldBodies:
    """Of requests that are read whole before it is known where they go."""

    def __init__(self) -> None:
        self.held_bytes = 0

    @contextmanager
    def of_request(self, receive: Receive, bytes_max: int) -> Iterator[Receive]:
        """Count what it brings, until it ends. Whoever receives the piece that is more than
        `bytes_max` of all requests together gets Answered in its place.
        """
        own_bytes = 0

        async def receive_held() -> Message:
            nonlocal own_bytes
            message = await receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                own_bytes += size
                self.held_bytes += size
                if self.held_bytes > bytes_max:
                    raise Answered(_full(bytes_max))
            return message

        try:
            yield receive_held
        finally:
            self.held_bytes -= own_bytes


def _full(bytes_max: int) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TOO_MANY_BYTES,
        detail=f"The bodies of requests that wait or are answered take {bytes_max} bytes already.",
        remedy="Retry when some have ended, or raise server.bodies_limit_bytes where there is "
        "the memory for it.",
        retry_after_s=FULL_RETRY_S,
        members={"limit_bytes": bytes_max},
    )
