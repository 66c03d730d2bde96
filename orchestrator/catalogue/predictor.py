"""Who tells what models take, as the catalogue asks for it; and somebody who cannot tell."""

from pathlib import Path
from typing import Protocol

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.config.models import declared_only
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.messages import Decide
from orchestrator.core.values.specs import Fallback, ModelSpec, Serving
from orchestrator.errors import Unpredictable
from orchestrator.orders import Suggestion


class Predictor(Protocol):
    """What models take, told from their files. What does not say otherwise may block."""

    def footprint(self, spec: ModelSpec) -> Footprint | None:
        """What is believed of a model with what was declared of it, if anything was.

        None where it cannot be told. Raise Unpredictable where a file is at fault.
        """

    def prepared(self, spec: ModelSpec) -> bool:
        """Whether `changed` and `fallbacks` know all there is to know. Never blocks."""

    def prepare(self, spec: ModelSpec) -> None:
        """Find out what they would have to say."""

    def changed(self, spec: ModelSpec, serving: Serving) -> Footprint | None:
        """The footprint under other settings; None where it cannot be told. Never blocks."""

    def news(self) -> tuple[Decide, ...]:
        """What is worth saying of the footprints and has not been said. Never blocks."""

    def fallbacks(self, spec: ModelSpec) -> tuple[Fallback, ...]:
        """What the model's `degrade` list comes to. Never blocks."""

    def suggestions(
        self,
        spec: ModelSpec,
        room_bytes: int,
        *,
        on_host: bool,
        host_room_bytes: int | None = None,
    ) -> tuple[Suggestion, ...]:
        """What would fit into so much of each device, and so much host RAM beside them."""

    def appraise(self, spec: ModelSpec) -> Appraisal:
        """In parts; of a model with a file. Raise Unpredictable."""


def nothing_cached(reference: str) -> Path | None:  # noqa: ARG001 - as if nothing was ever pulled
    """Of somebody without a cache of models."""
    return None


class Unpredicting:
    """Of somebody who cannot tell: every footprint must be declared."""

    footprint = staticmethod(declared_only)

    def prepared(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def prepare(self, spec: ModelSpec) -> None:
        """There is nothing to find out."""

    def changed(self, spec: ModelSpec, serving: Serving) -> Footprint | None:  # noqa: ARG002
        return None

    def news(self) -> tuple[Decide, ...]:
        return ()

    def fallbacks(self, spec: ModelSpec) -> tuple[Fallback, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def suggestions(
        self,
        spec: ModelSpec,  # noqa: ARG002
        room_bytes: int,  # noqa: ARG002
        *,
        on_host: bool,  # noqa: ARG002
        host_room_bytes: int | None = None,  # noqa: ARG002
    ) -> tuple[Suggestion, ...]:
        return ()

    def appraise(self, spec: ModelSpec) -> Appraisal:
        raise Unpredictable(("file",), f"{spec.file} is not read here")
