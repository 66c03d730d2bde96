"""The requests of now and of the past, from memory and from the registry; and how they get there.

No request waits for the disk: what has ended is written down once a second, a bounded batch of it.
"""

from orchestrator.desk.activity import BATCH_MAX, Activity, record
from orchestrator.errors import RegistryFailed
from orchestrator.records import Registry, RequestPage, RequestRecord


class RequestHistory:
    def __init__(self, activity: Activity, registry: Registry) -> None:
        self._activity = activity
        self._registry = registry
        self._refused: tuple[RequestRecord, ...] = ()  # by the disk, the last time
        self._given_up = 0

    @property
    def not_kept(self) -> int:
        """How many since the start are not in the registry and will not be: they were too many in
        one second, or the disk did not take them.
        """
        return self._activity.missed + self._given_up

    def running(self, page: RequestPage) -> tuple[RequestRecord, ...]:
        """Newest first, those that the page asks for."""
        return page.of(map(record, self._activity.running))

    async def ended(self, page: RequestPage) -> tuple[RequestRecord, ...]:
        """Newest first; where the disk does not answer, as far as memory goes."""
        recent = tuple(map(record, self._activity.recent))
        try:
            written = await self._registry.page_of_requests(page)
        except RegistryFailed:
            written = ()
        return page.of({one.id: one for one in (*written, *recent)}.values())

    async def find(self, id_: int) -> RequestRecord | None:
        """None if it is not known (any more). Raise RegistryFailed."""
        run = self._activity.find(id_)
        return await self._registry.requests.get(id_) if run is None else record(run)

    async def keep(self) -> None:
        """Write down what has ended since the last time, and what the disk refused then.

        Takes as long as the disk does. Never raises: what is too much is counted.
        """
        due = (*self._refused, *self._activity.drain())
        batch = due[-BATCH_MAX:]
        self._given_up += len(due) - len(batch)
        if not batch:
            return
        self._refused = batch
        try:
            await self._registry.add_requests(batch)
        except RegistryFailed:
            return
        self._refused = ()
