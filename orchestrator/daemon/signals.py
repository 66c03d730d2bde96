"""What signals to the daemon mean: TERM and INT end it, HUP has the configuration read again."""

import asyncio
import logging
import signal
from collections.abc import Callable
from datetime import datetime

from orchestrator.access.audit.lines import Act
from orchestrator.access.audit.log import Audit
from orchestrator.access.caller import THE_DAEMON
from orchestrator.daemon.supervisor import Supervisor
from orchestrator.desk.desk import Desk
from orchestrator.errors import AuditUnavailable, ConfigInvalid, Denied
from orchestrator.orders import ReloadOutcome

log = logging.getLogger("orchestrator")


def handle_signals(
    end: Callable[[], None], desk: Desk, audit: Audit, supervisor: Supervisor, status: str
) -> None:
    """`status` is what the supervisor shows of a daemon that serves as it should."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: loop.create_task(reload(desk, audit, supervisor, status))
    )


async def reload(desk: Desk, audit: Audit, supervisor: Supervisor, status: str) -> None:
    """With a mistake in the file nothing changes, and the supervisor shows that; so too where it
    cannot be written into the audit log.
    """
    supervisor.reloading()
    try:
        await audit.durable(Act(action="config.reload", caller=THE_DAEMON))
        outcome = await desk.reload()
    except (AuditUnavailable, ConfigInvalid, Denied) as error:
        log.error("the configuration was not reloaded, nothing has changed:\n%s", error)  # noqa: TRY400
        status = f"not reloaded, the earlier configuration holds: {error}"
    else:
        changed = ", ".join(outcome.changed) or "nothing"
        log.info("reloaded; changed: %s; %s", changed, _dated(outcome))
    supervisor.ready(status)


def _dated(outcome: ReloadOutcome) -> str:
    if outcome.file_changed_s is None:
        return f"{outcome.file} is gone"
    at = datetime.fromtimestamp(outcome.file_changed_s).astimezone()
    return f"{outcome.file} was last changed at {at:%Y-%m-%d %H:%M:%S}"
