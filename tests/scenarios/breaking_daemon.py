"""The daemon with a scheduler that was not made for pins: it breaks off at each, half way through."""

import sys

from orchestrator.cli.main import main
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.values.messages import Effect, Event, PinChanged

whole = Scheduler.handle


def broken(self: Scheduler, event: Event, *, now_s: float) -> list[Effect]:
    effects = whole(self, event, now_s=now_s)
    if isinstance(event, PinChanged):
        raise ZeroDivisionError("as it was told to")
    return effects


if __name__ == "__main__":
    Scheduler.handle = broken  # type: ignore[method-assign]
    sys.exit(main())
