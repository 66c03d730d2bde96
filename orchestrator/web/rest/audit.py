"""The audit log, to be looked into."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from orchestrator.access.audit.lines import TEXT_CHARS_MAX, ActOutcome
from orchestrator.access.audit.log import Audit
from orchestrator.access.audit.reading import READ_MAX, Sought, look
from orchestrator.web.rest.docs import answers
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import DeskOf, answer
from orchestrator.web.wire import audit_shapes
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

SEQ_MAX = 10**15

router = APIRouter(tags=["daemon"], route_class=JsonRoute)

Word = Annotated[str | None, Query(max_length=TEXT_CHARS_MAX)]


class LinesWanted:
    """Which lines are asked for."""

    def __init__(
        self,
        before: Annotated[int | None, Query(ge=0, le=SEQ_MAX)] = None,
        action: Word = None,
        target: Word = None,
        key: Word = None,
        address: Word = None,
        outcome: ActOutcome | None = None,
        limit: Annotated[int, Query(ge=1, le=READ_MAX)] = 100,
    ) -> None:
        self.sought = Sought(
            before=before,
            action=action,
            target=target,
            key=key,
            address=address,
            outcome=outcome,
            limit=limit,
        )


@router.get(
    "/audit",
    summary="Who did what: the audit log",
    responses=answers(audit_shapes.AuditLines, audit_shapes.AUDIT, 404, 422, 503),
)
async def audit(
    request: Request, desk: DeskOf, wanted: Annotated[LinesWanted, Depends()]
) -> Response:
    """Newest first. `action` is a whole one, or what stands before its dot: `model`.

    Where there is more, or more to look through, `next_before` is the `before` of the next page.
    `head` is the number and the hash of the last line that was written: noted elsewhere, it proves
    to `orchestrator audit verify --head` that the log was not cut.
    """
    kept: Audit = request.app.state.audit
    if kept.head is None:
        raise Answered(
            ErrorAnswer(
                code=WebCode.NOT_FOUND,
                detail="No audit log is kept.",
                remedy="Set audit.enabled: true in the configuration, and restart.",
            )
        )
    seen = await asyncio.to_thread(look, desk.config.state_dir, wanted.sought)
    return answer(
        {
            "lines": list(seen.lines),
            "next_before": seen.next_before,
            "head": str(kept.head),
            "problem": kept.problem,
        }
    )
