"""Has a model's files brought from a hub when it is first wanted.

Beforehand the first megabytes of them tell what the model will take, so that one that does not
fit is refused before anything is downloaded.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator import hub
from orchestrator.catalogue.catalogue import Catalogue, located
from orchestrator.config.yaml_lines import show
from orchestrator.core.room.planner import Fits
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN, Footprint, Provenance
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.downloads import Downloads
from orchestrator.errors import Unpredictable
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header
from orchestrator.gguf.reader import header_suffices, read_header
from orchestrator.ports import Tell
from orchestrator.progress import TELL_S, Words, in_thread, told

DOWNLOADS_MAX = 2  # at once: more would only share the same line, and end later
LOOKS_MAX = 3  # at the files of one repository: what one takes tells nearly what others do

# Only the operator can mend these: the hub is not asked again by itself.
_LASTING = frozenset({hub.Cause.INVALID, hub.Cause.NOT_FOUND, hub.Cause.GATED})
# What was learned from loads is not replaced by what the files tell.
_TOLD_BY_FILES = frozenset({Provenance.UNKNOWN, Provenance.DECLARED, Provenance.ESTIMATED})

T = TypeVar("T")


class HubSupply:
    """Keeps `ports.Supply`. What it found out, the catalogue knows from then on."""

    def __init__(
        self,
        access: hub.Access,
        catalogue: Catalogue,
        *,
        fits: Callable[[ModelSpec], Fits | None] = lambda _: None,
        downloads: Downloads | None = None,
        patience: hub.Patience | None = None,
    ) -> None:
        """`fits` says whether there is room for a model on the devices of now; None: nobody knows.
        It is asked on the loop.
        """
        self._access = access
        self._fits = fits
        self._catalogue = catalogue
        self._downloads = downloads or Downloads()
        self._patience = patience
        self._turns = asyncio.Semaphore(DOWNLOADS_MAX)

    async def would_bring(self, spec: ModelSpec) -> bool:
        if spec.hub is None or not spec.auto_download:
            return False
        try:
            return await asyncio.to_thread(hub.cached, spec.hub, home=self._access.home) is None
        except (hub.PullFailed, OSError):
            return False  # `bring` says so

    async def bring(self, spec: ModelSpec, tell: Tell) -> ModelSpec | Failure:
        if spec.hub is None:
            return spec
        try:
            return await self._catalogue.take_in(await self._supplied(spec, spec.hub, tell))
        except hub.PullFailed as failed:
            return _failure(spec, failed)
        except Unpredictable as unclear:
            return Failure(
                reason=FailureReason.MODEL_FILE,
                detail=f"{show(unclear.where)} {unclear}.",
                remedy=f"Say what {spec.name} takes (vram_mb), or choose another file.",
                outside=not spec.auto_download,
            )

    async def _supplied(self, spec: ModelSpec, reference: str, tell: Tell) -> ModelSpec:
        home = self._access.home
        here = await asyncio.to_thread(hub.cached, reference, home=home)
        if here is None and not spec.auto_download:
            raise hub.PullFailed(
                hub.Cause.NOT_FOUND,
                f"{reference} is not in {home} yet.",
                f"Run `orchestrator pull {reference}`, or set auto_download: true for {spec.name}.",
            )
        if here is None:
            reference = await self._meant(spec, reference, tell)
        if here is None and spec.footprint.unknown:
            return await self._in_thread(
                lambda report: self._sized_on_hub(spec, reference, report), tell
            )
        if here is None:
            here = await self._pulled(reference, tell)
        return await asyncio.to_thread(self._sized, located(spec, here))

    async def _meant(self, spec: ModelSpec, reference: str, tell: Tell) -> str:
        """Of ORG/REPO alone the best quantization that fits here, found once for as long as this
        daemon runs; what a pull means by it where that cannot be told.
        """
        if hub.parse(reference).file is not None:
            return reference
        known = self._catalogue.predictions.quantizations
        if (chosen := known.chosen(reference)) is not None:
            return chosen
        access = self._access
        offers = await self._in_thread(
            lambda report: hub.published(
                reference,
                endpoint=access.endpoint,
                token=access.token,
                progress=report,
                patience=self._patience,
            ),
            tell,
        )
        best = await self._best(spec, offers, tell)
        if best is None:
            return reference
        known.choose(spec, best, offers)
        tell(f"{best.quantization} is the best that fits of {len(offers)} in {reference}")
        return best.reference

    async def _best(
        self, spec: ModelSpec, offers: tuple[hub.Offer, ...], tell: Tell
    ) -> hub.Offer | None:
        """The first that fits; the smallest if none does, so that a refusal speaks of that. None
        where there is no choice, or no device has been read.

        What the first one takes beside its weights is known from a look at it: of the others that
        are too large by that no byte is asked for.
        """
        if len(offers) < 2:
            return None
        beside, looks = UNKNOWN, 0
        for offer in offers:
            fits = self._fits(_alone(spec, beside.grown(offer.size_bytes)))
            if fits is None:
                return None
            if fits is Fits.NEVER or looks == LOOKS_MAX:
                continue
            looks += 1
            sized = await self._in_thread(partial(self._footprint_on_hub, spec, offer), tell)
            if self._fits(_alone(spec, sized)) is not Fits.NEVER:
                return offer
            beside = sized.grown(-offer.size_bytes)
        return min(offers, key=lambda offer: offer.size_bytes)

    def _footprint_on_hub(self, spec: ModelSpec, offer: hub.Offer, report: hub.Report) -> Footprint:
        unsized = replace(spec, footprint=UNKNOWN)
        return self._sized_on_hub(unsized, offer.reference, report).footprint

    def _sized(self, spec: ModelSpec) -> ModelSpec:
        """Blocking. Raise Unpredictable."""
        if spec.footprint.provenance not in _TOLD_BY_FILES:
            return spec
        declared = spec.footprint.provenance is Provenance.DECLARED
        draft = spec if declared else replace(spec, footprint=UNKNOWN)
        footprint = self._catalogue.predictions.footprint(draft)
        assert footprint is not None, "its file is known"
        return replace(spec, footprint=footprint)

    def _sized_on_hub(self, spec: ModelSpec, reference: str, report: hub.Report) -> ModelSpec:
        """By the first megabytes of its files. Blocking. Raise PullFailed or Unpredictable."""
        access = self._access
        with hub.peek(
            reference,
            header_suffices,
            home=access.home,
            endpoint=access.endpoint,
            token=access.token,
            progress=report,
            patience=self._patience,
        ) as seen:
            self._catalogue.predictions.quantizations.keep(reference, seen.offers)
            first = seen.parts[0]
            self._expect(first, seen.parts)
            will_be = replace(spec, file=str(first.later))
            if seen.projector is not None and spec.mmproj is None:
                self._expect(seen.projector, (seen.projector,))
                will_be = replace(will_be, mmproj=str(seen.projector.later))
        return self._sized(will_be)

    def _expect(self, first: hub.PeekedFile, parts: tuple[hub.PeekedFile, ...]) -> None:
        """Have the header believed under the path that the file will have."""
        try:
            header = read_header(first.here)
        except GgufError as error:
            raise Unpredictable(("file",), f"cannot be used: {error}") from error
        self._catalogue.predictions.expect(first.later, _moved(header, parts))

    async def _pulled(self, reference: str, tell: Tell) -> Path:
        while self._turns.locked():
            tell(f"waits for {DOWNLOADS_MAX} other downloads")
            await asyncio.sleep(TELL_S)
        access = self._access
        async with self._turns:
            with self._downloads.one(reference) as arriving:
                return await self._in_thread(
                    lambda report: hub.pull(
                        reference,
                        home=access.home,
                        endpoint=access.endpoint,
                        token=access.token,
                        progress=both(arriving.hear, report),
                        patience=self._patience,
                    ),
                    tell,
                    first=f"asking for {reference}",
                )

    async def _in_thread(self, work: Callable[[hub.Report], T], tell: Tell, first: str = "") -> T:
        words = Words(first)

        def done() -> T:
            return work(lambda progress: words.say(progress.in_words()))

        return await told(in_thread(done, "hub"), words, tell)


def _alone(spec: ModelSpec, footprint: Footprint) -> ModelSpec:
    """Another model as far as the devices go: that this one is loaded already is no room for it."""
    known = replace(footprint, provenance=Provenance.ESTIMATED)
    return replace(spec, name=ModelName(f"{spec.name} on its hub"), footprint=known)


def both(one: hub.Report, other: hub.Report) -> hub.Report:
    def report(progress: hub.Progress) -> None:
        one(progress)
        other(progress)

    return report


def _moved(header: Header, parts: tuple[hub.PeekedFile, ...]) -> Header:
    later = {part.here: part.later for part in parts}
    return replace(
        header,
        path=later[header.path],
        parts=tuple(replace(part, path=later[part.path]) for part in header.parts),
    )


def _failure(spec: ModelSpec, failed: hub.PullFailed) -> Failure:
    lasting = failed.cause in _LASTING
    return Failure(
        reason=FailureReason.MODEL_FILE if lasting else FailureReason.DOWNLOAD,
        detail=f"{spec.name} is not here: {failed.detail}",
        remedy=failed.remedy,
        outside=not spec.auto_download,  # then its hub was not asked
    )
