"""Plays an exchange without a server: what it hears is told beforehand, what it asks is kept."""

import json
from typing import Any, TypeVar

from orchestrator.client.errors import ClientError
from orchestrator.client.exchanges import Ask, Exchange, Heard, NoReply, Pause, Reply

T = TypeVar("T")


class Play:
    """What an exchange asked and how long it paused, in order; and what came of it."""

    def __init__(self, exchange: Exchange[T], *heard: Heard) -> None:
        self.steps: list[Ask | Pause] = []
        self.result: T | None = None
        self.error: ClientError | None = None
        self.ended = False
        waiting = list(heard)
        try:
            step = next(exchange)
            while True:
                self.steps.append(step)
                if isinstance(step, Ask) and not waiting:
                    return
                step = exchange.send(None if isinstance(step, Pause) else waiting.pop(0))
        except StopIteration as end:
            self.result, self.ended = end.value, True
        except ClientError as error:
            self.error, self.ended = error, True
        assert not waiting, "it ended before it had heard everything"

    @property
    def asks(self) -> list[Ask]:
        return [step for step in self.steps if isinstance(step, Ask)]

    @property
    def pauses(self) -> list[float]:
        return [step.seconds for step in self.steps if isinstance(step, Pause)]


def reply(body: Any = None, status: int = 200, took_s: float = 0.0, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=named, body=data, took_s=took_s)


def refusal(code: str, status: int, took_s: float = 0.0, **members: Any) -> Reply:
    """As the daemon words it."""
    body = {"code": code, "detail": f"{code}.", "remedy": "Help.", "status": status, **members}
    return reply(body | {"error": {"message": f"{code}. Help.", "code": code}}, status, took_s)


SILENT = NoReply(detail="It was silent.", timed_out=True)
REFUSED = NoReply(detail="Nothing answers.")
