"""Who hears what of the stream: what is for everybody is made once, the rest for one at a time."""

from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.conductor.history import Decided, Holder, Numbered, Span, Spanned
from orchestrator.desk.permits import may_hear


class Hearer(Protocol):
    rights: Rights

    def hear(self, frame: bytes, sequence: int | None = None) -> None: ...


def hears(change: Numbered, rights: Rights) -> bool:
    match change:
        case Decided(record=record):
            return may_hear(record.decision.model, rights)
        case Spanned(span=span):
            return sees_span(span, rights)


def sees_span(span: Span, rights: Rights) -> bool:
    """Of a lease it says the owner's name."""
    return rights.sees_all or (span.holder is Holder.RESIDENT and rights.sees(span.name))


def tell(hearers: Iterable[Hearer], frame_of: Callable[[Rights], bytes]) -> None:
    whole: bytes | None = None
    for hearer in hearers:
        if not hearer.rights.sees_all:
            hearer.hear(frame_of(hearer.rights))
            continue
        if whole is None:
            whole = frame_of(EVERYTHING)
        hearer.hear(whole)
