"""Which other quantizations there are of a model: beside its file, and as its hub listed them.

Nobody is asked here: what a hub published is known from when it was last asked for a model.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.refusals import FittingFile
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.vram import to_mb
from orchestrator.errors import Unpredictable
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.file_types import file_type
from orchestrator.gguf.header import Header
from orchestrator.gguf.headers import Headers
from orchestrator.hub import Offer
from orchestrator.hub.publishing import quantization_in, ranked, without_quantization
from orchestrator.hub.references import models_of, parse

REPOSITORIES_MAX = 256  # whose lists are remembered: a kilobyte or two each
BESIDE_MAX = 64  # files of one folder that are looked at
# What a smaller file saves, as far as that is believed: some of it lies in host RAM.
SAVING_BELIEVED = 0.95

K = TypeVar("K")
V = TypeVar("V")

# What a model would take; None where its files do not tell. Raise Unpredictable.
Sizes = Callable[[ModelSpec], Footprint | None]


@dataclass(frozen=True, slots=True)
class Way:
    """One quantization, as a model of its own to be held against the devices."""

    spec: ModelSpec
    file: FittingFile
    own: bool  # it is the one that the model has


class Quantizations:
    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._offers: OrderedDict[tuple[str, str], tuple[Offer, ...]] = OrderedDict()
        self._chosen: OrderedDict[str, Offer] = OrderedDict()
        self._said: list[Decide] = []

    # --- what hubs published ---------------------------------------------------------------------

    def keep(self, reference: str, offers: tuple[Offer, ...]) -> None:
        """What the repository had when its hub was asked."""
        _put(self._offers, _repository(reference), offers)

    def choose(self, spec: ModelSpec, offer: Offer, offers: tuple[Offer, ...]) -> None:
        """The one that ORG/REPO alone means here from now on; it is said once."""
        assert spec.hub is not None
        _put(self._chosen, spec.hub, offer)
        other = next(one.quantization for one in offers if one is not offer)
        larger = [one.quantization for one in offers if one.size_bytes > offer.size_bytes]
        why = f"of {len(offers)} that {spec.hub} has"
        self._said.append(
            Decide(
                kind=DecisionKind.CATALOGUE,
                model=spec.name,
                text=f"{spec.name} is {offer.quantization} ({to_mb(offer.size_bytes)} MB): "
                "the best quantization that fits here.",
                why=f"{why}; not {', '.join(larger)}" if larger else why,
                remedy=f"To have another, name it: {spec.hub}:{other}.",
            )
        )

    def chosen(self, reference: str) -> str | None:
        """What ORG/REPO alone means here, named so that there is no choice."""
        offer = self._chosen.get(reference)
        return None if offer is None else offer.reference

    def news(self) -> tuple[Decide, ...]:
        """Choices that this has not returned before."""
        said, self._said = self._said, []
        return tuple(said)

    # --- what would fit instead ------------------------------------------------------------------

    def of(self, spec: ModelSpec, sizes: Sizes) -> tuple[Way, ...]:
        """All that are known of the model's, its own among them, the best first. Blocking."""
        if spec.file is None or spec.footprint.unknown:
            return ()
        path = Path(spec.file)
        try:
            header = self._headers.of(path)
        except GgufError:
            return ()
        own = Offer(
            reference=spec.file,
            quantization=quantization_in(spec.file) or file_type(header),
            size_bytes=header.file_bytes,
        )
        ways = {own.quantization: Way(spec, _told(own), own=True)}
        for offer in self._beside(path, header):
            found = replace(spec, file=offer.reference, footprint=UNKNOWN)
            try:
                footprint = sizes(found)
            except Unpredictable:
                continue
            if footprint is not None:
                ways.setdefault(offer.quantization, _way(found, offer, footprint))
        for offer in self._published(spec):
            by_bytes = offer.size_bytes - own.size_bytes
            shift = by_bytes if by_bytes > 0 else int(by_bytes * SAVING_BELIEVED)
            way = _way(spec, offer, spec.footprint.grown(shift))
            ways.setdefault(offer.quantization, way)
        order = {
            offer.quantization: place
            for place, offer in enumerate(ranked(_offer(way) for way in ways.values()))
        }
        return tuple(sorted(ways.values(), key=lambda way: order[way.file.quantization]))

    def _published(self, spec: ModelSpec) -> tuple[Offer, ...]:
        return () if spec.hub is None else self._offers.get(_repository(spec.hub), ())

    def _beside(self, path: Path, own: Header) -> Iterator[Offer]:
        """Files of the folder that are called like it, and hold the same matrices."""
        called = without_quantization(path.name)
        try:
            names = sorted(
                one.name
                for one in path.parent.iterdir()
                if quantization_in(one.name) and without_quantization(one.name) == called
            )
        except OSError:
            return
        for first in models_of(names[:BESIDE_MAX]):
            if first == path.name:
                continue
            try:
                header = self._headers.of(path.with_name(first))
            except GgufError:
                continue
            if _shape(header) == _shape(own):
                yield Offer(
                    reference=str(path.with_name(first)),
                    quantization=quantization_in(first) or file_type(header),
                    size_bytes=header.file_bytes,
                )


def _repository(reference: str) -> tuple[str, str]:
    wanted = parse(reference)
    return wanted.repo, wanted.revision


def _put(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > REPOSITORIES_MAX:
        kept.popitem(last=False)


def _shape(header: Header) -> tuple[object, ...]:
    tensors = frozenset((tensor.name, tensor.dimensions) for tensor in header.tensors)
    return header.architecture, tensors


def _way(spec: ModelSpec, offer: Offer, footprint: Footprint) -> Way:
    """Called otherwise: that the model itself is loaded is no room for this one."""
    name = ModelName(f"{spec.name} {offer.quantization}")
    return Way(replace(spec, name=name, footprint=footprint), _told(offer), own=False)


def _told(offer: Offer) -> FittingFile:
    return FittingFile(
        file=offer.reference, quantization=offer.quantization, size_bytes=offer.size_bytes
    )


def _offer(way: Way) -> Offer:
    file = way.file
    return Offer(reference=file.file, quantization=file.quantization, size_bytes=file.size_bytes)
