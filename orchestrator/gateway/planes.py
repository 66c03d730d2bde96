"""What carries requests beside this process, and what it is told of the models that are ready."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.values.residents import InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What is known of what a model can do. What may not fit is looked at by the relay."""

    talks: bool = True  # answers in text
    embeds: bool = True
    pictures: bool = True
    bytes_max: int | None = None  # of a body of text; None: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A route as a plane hears of it."""

    instance: InstanceId
    number: int  # grows with every opening: a route that was closed and opened again is another
    names: tuple[str, ...]  # what requests may call the model
    url: str
    priority: int
    can: Abilities = Abilities()


class Plane(Protocol):
    """Carries requests by the routes that are published to it, and counts them."""

    def publish(self, routes: Sequence[Published]) -> None:
        """The whole set; the newest replaces what came before. Sent on in the background."""

    async def counted(
        self, instances: Collection[InstanceId]
    ) -> Mapping[InstanceId, int | None] | None:
        """Requests under way at these, counted after all that was published has arrived there. None
        if it does not say in time. Never raises.
        """

    def last_counted(self, instance: InstanceId) -> int:
        """As it said last."""

    async def close(self) -> None:
        """ModelHold nothing any more. What it carries goes on. Never raises."""
