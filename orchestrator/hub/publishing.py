"""Which quantizations of one model a repository publishes, by the names and sizes of its files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.hub.access import ENDPOINT
from orchestrator.hub.connection import Hub, persist
from orchestrator.hub.progress import Meter, Patience, Phase, Report
from orchestrator.hub.references import Reference, models_of, parse

# As the names of files have it: `Q4_K_M`, `IQ3_XXS`, `UD-Q4_K_XL`, `BF16`.
_QUANTIZATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d_(?:K_(?:XL|S|M|L)|K|[01]|XXS|XS|XL|NL|S|M|L)|TQ\d_0"
    r"|MXFP4(?:_MOE)?|NVFP4|BF16|F16|FP16|F32))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"-\d{5}-of-\d{5}$")
# They gain nothing over Q8_0 that anyone reads in an answer, and cost twice the VRAM.
_WHOLE = frozenset({"BF16", "F16", "FP16", "F32"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One quantization of a model: what names it alone, and the bytes of all its parts."""

    reference: str
    quantization: str
    size_bytes: int

    @property
    def whole(self) -> bool:
        """Its weights are as they were trained, or nearly so."""
        return self.quantization in _WHOLE


def quantization_in(path: str) -> str | None:
    """What the name of a file says of it."""
    found = _QUANTIZATION.findall(_one_name(path))
    return found[-1].upper() if found else None


def without_quantization(path: str) -> str:
    """What all quantizations of one model are called, in lower case."""
    return _QUANTIZATION.sub("", _one_name(path)).lower()


def offers(reference: Reference, sizes: Mapping[str, int]) -> tuple[Offer, ...]:
    """Of the repository, the largest first. Nothing where it holds several models, or two files of
    one quantization: which of them is meant is then no question of size.
    """
    revision = "" if reference.revision == "main" else f"@{reference.revision}"
    found: list[Offer] = []
    called = set[str]()
    for first, parts in models_of(tuple(sizes)).items():
        quantization = quantization_in(first)
        if quantization is None:
            return ()
        called.add(without_quantization(first))
        found.append(
            Offer(
                reference=f"{reference.repo}{revision}:{first}",
                quantization=quantization,
                size_bytes=sum(sizes[part] for part in parts),
            )
        )
    if len(called) != 1 or len({offer.quantization for offer in found}) != len(found):
        return ()
    return ranked(found)


def ranked(found: Iterable[Offer]) -> tuple[Offer, ...]:
    """The best first: the largest, and whole weights only behind all others."""
    return tuple(sorted(found, key=lambda offer: (offer.whole, -offer.size_bytes)))


def published(
    reference: str,
    *,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    progress: Report,
    patience: Patience | None = None,
) -> tuple[Offer, ...]:
    """Asks the hub. Blocking. Raise PullFailed, or what `progress` raises."""
    wanted, bounds = parse(reference), patience or Patience()
    meter = Meter(progress, bounds)
    with Hub(endpoint, token, bounds) as hub:
        meter.say(Phase.ASKING)
        listing = persist(lambda: hub.listing(wanted), meter, bounds)
    return offers(wanted, listing.sizes)


def _one_name(path: str) -> str:
    """Without its folder, and what numbers the parts of a split model."""
    return _NUMBERED.sub("", path.rsplit("/", 1)[-1].removesuffix(".gguf"))
