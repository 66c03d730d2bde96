"""Puts together who is told of what: webhooks of what went wrong, callbacks of ended loads."""

from typing import Any

from orchestrator.conductor.conductor import Conductor
from orchestrator.desk.desk import Desk
from orchestrator.notify.delivery import Deliveries, secret_in
from orchestrator.notify.noticing import Notice, Noticing
from orchestrator.orders import LoadOrder
from orchestrator.records import Operation
from orchestrator.web.wire import shaping
from orchestrator.web.wire.instants import instant


class Notifier:
    """Follows the configuration: who is listed now is told."""

    def __init__(self, desk: Desk, conductor: Conductor) -> None:
        self._desk = desk
        self._deliveries = Deliveries(lambda: secret_in(desk.config.state_dir), conductor.clock)
        noticing = Noticing(conductor.scheduler.state, conductor.clock, self._noticed)
        conductor.watch(noticing.observe)
        desk.watch_loads(self._ended)

    def _noticed(self, notice: Notice) -> None:
        for url in self._desk.config.webhooks.urls:
            self._deliveries.send(url, told(notice))

    def _ended(self, operation: Operation, order: LoadOrder) -> None:
        if order.callback_url is not None:
            said = {"type": "operation", **shaping.operation(operation, 0.0)}
            self._deliveries.send(order.callback_url, said)

    async def close(self) -> None:
        await self._deliveries.close()


def told(notice: Notice) -> dict[str, Any]:
    return {
        "type": notice.kind,
        "at": instant(notice.at_s),
        "text": notice.text,
        "remedy": notice.remedy,
        "model": notice.model,
        "device": notice.device,
    }
