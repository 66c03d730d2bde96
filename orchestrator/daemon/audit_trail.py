"""The audit log of one life of the daemon, and what the daemon does by itself in it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from orchestrator.access.audit.lines import Act, ActOutcome
from orchestrator.access.audit.log import Audit, AuditLog, NoAudit
from orchestrator.access.caller import THE_DAEMON
from orchestrator.conductor.history import Change, Decided, Gap, History, Subscription
from orchestrator.config.audit_section import AuditSettings
from orchestrator.config.loading import Config
from orchestrator.core.values.decisions import DecisionKind

TELL_S = 60.0
# What befalls models without a caller's act in the same line; the sentence stands in GET /events.
FOLLOWED: Mapping[DecisionKind, tuple[str, ActOutcome]] = {
    DecisionKind.LOAD: ("resident.load", ActOutcome.GRANTED),
    DecisionKind.EVICT: ("resident.evict", ActOutcome.GRANTED),
    DecisionKind.EXPIRE: ("lease.expire", ActOutcome.GRANTED),
    DecisionKind.ADOPT: ("resident.adopt", ActOutcome.GRANTED),
    DecisionKind.DIED: ("resident.die", ActOutcome.FAILED),
    DecisionKind.STUCK: ("resident.stick", ActOutcome.FAILED),
}


@asynccontextmanager
async def audit_of(config: Config, history: History) -> AsyncIterator[Audit]:
    """Its first line says that the daemon starts, its last that it ends."""
    settings: AuditSettings = config.audit
    if not settings.enabled:
        yield NoAudit()
        return
    audit = await AuditLog.open(
        config.state_dir, bytes_max=settings.file_mb << 20, files_max=settings.files
    )
    with history.subscribe() as changes:
        following = [
            asyncio.create_task(_follow(changes, audit), name="audit decisions"),
            asyncio.create_task(_tell_head(audit), name="audit head"),
        ]
        try:
            yield audit
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)
            await audit.close()


async def _follow(changes: Subscription, audit: Audit) -> None:
    async for change in changes:
        if (act := act_of(change)) is not None:
            audit.note(act)


def act_of(change: Change) -> Act | None:
    if isinstance(change, Gap):
        return Act(action="audit.lost", caller=THE_DAEMON, outcome=ActOutcome.FAILED)
    if not isinstance(change, Decided):
        return None
    record = change.record
    followed = FOLLOWED.get(record.decision.kind)
    if followed is None:
        return None
    action, outcome = followed
    return Act(
        action=action,
        caller=replace(THE_DAEMON, key=record.decision.key),
        outcome=outcome,
        target=record.decision.model,
        numbers={"decision": record.id},
    )


async def _tell_head(audit: AuditLog) -> None:
    while True:
        audit.tell_head(time.monotonic())
        await asyncio.sleep(TELL_S)
