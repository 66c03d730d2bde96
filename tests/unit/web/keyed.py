"""An office whose doors are closed, and keys for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.access.keys.acts import NewKey
from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.wish import KeyWish
from tests.unit.web.office import GATE, Office

PLENTY = {"requests_per_minute": 60_000}


class Doors:
    """The keys of an office."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.keys = Keys(office.config.state_dir, clock=office.clock, steady=office.clock)

    def make(self, *scopes: KeyScope, **more: Any) -> NewKey:
        wish = KeyWish(name="test", scopes=scopes, **{**PLENTY, **more})
        new = self.office.run(self.keys.create(wish, None))
        assert isinstance(new, NewKey)
        return new


def bearer(new: NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {new.secret}"}


@contextmanager
def closed_doors(office: Office) -> Iterator[Doors]:
    doors = Doors(office)
    GATE.keys = doors.keys
    try:
        yield doors
    finally:
        GATE.keys = None
