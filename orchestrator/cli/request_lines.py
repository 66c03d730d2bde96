"""The requests of clients, as the API shows them, in a table. Pure, as `render`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.cli.render import NOTHING, duration
from orchestrator.cli.screen import table

if TYPE_CHECKING:  # the shapes of the answers: the command line starts without the web
    from collections.abc import Sequence

    from orchestrator.cli.screen import Part
    from orchestrator.web.wire.request_shapes import Cancelled, RequestFigures, RequestList

HEAD = ("ID", "BEGAN", "MODEL", "WHO", "OUTCOME", "WAITED", "FIRST BYTE", "TOTAL", "IN", "OUT")
RIGHT = "ID WAITED TOTAL IN OUT TOKENS/S"


def request_lines(requests: RequestList) -> list[Part]:
    shown = (*requests["running"], *requests["ended"])
    if not shown:
        return ["No request is known."]
    lines: list[Part] = [table((*HEAD, "TOKENS/S"), map(_row, shown), right=RIGHT)]
    if unseen := requests["running_total"] - len(requests["running"]):
        lines.append(f"Under way and not shown: {unseen}.")
    if requests["not_kept"]:
        lines.append(f"Ended and not kept since the start: {requests['not_kept']}.")
    return lines


def cancelled_lines(answer: Cancelled) -> list[str]:
    if answer["status"] == "over":
        return [f"Request {answer['id']} had ended already."]
    return [f"Request {answer['id']} is being ended."]


def _row(request: RequestFigures) -> Sequence[str]:
    first_byte_s = request["first_byte_seconds"]
    tokens_per_s = request["tokens_per_second"]
    return (
        str(request["id"]),
        f"{datetime.fromisoformat(request['began_at']).astimezone():%m-%d %H:%M:%S}",
        request["model"] or request["asked"] or NOTHING,
        request["owner"] or request["client"],
        _outcome(request),
        duration(request["wait_seconds"]) if request["wait_seconds"] else NOTHING,
        NOTHING if first_byte_s is None else duration(first_byte_s),
        duration(request["total_seconds"]),
        _count(request["tokens_in"]),
        _count(request["tokens_out"]),
        NOTHING if tokens_per_s is None else f"{tokens_per_s:.1f}",
    )


def _outcome(request: RequestFigures) -> str:
    """What is known of it in a word, with what explains it."""
    outcome, status = request["outcome"], request["status"]
    if outcome is None:
        if request["model"] is None:
            return f"waits: {request['why']}" if request["why"] else "waits"
        return "under way"
    return outcome if status in (None, 200) else f"{outcome} {status}"


def _count(tokens: int | None) -> str:
    return NOTHING if tokens is None else str(tokens)
