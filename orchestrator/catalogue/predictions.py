"""What models will take, told from their files before anything of them runs, and remembered."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from orchestrator.catalogue.sizing import (
    LLAMA_SERVER,
    Appraisal,
    Files,
    Predicted,
    ServerProcess,
    estimated,
    process_bytes,
    settings_of,
    understood,
    worked_out,
)
from orchestrator.core.learning.degrading import steps
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.messages import Decide, DecisionKind
from orchestrator.core.values.specs import Fallback, ModelName, ModelSpec, ServiceName, Serving
from orchestrator.core.values.vram import to_mb
from orchestrator.errors import Unpredictable
from orchestrator.gguf import fits
from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.dry_run import DryRuns
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.header import Header
from orchestrator.gguf.headers import Headers
from orchestrator.orders import Suggestion

DIFFERENCE_SAID = 0.1  # of what the file says: a declaration that is further off is told so
PREDICTIONS_MAX = 4096  # some hundred bytes each; a catalogue of hundreds under several settings

Known = TypeVar("Known")


class Predictions:
    """Footprints by the files, each worked out once. Blocking, unless it says otherwise."""

    def __init__(
        self,
        headers: Headers,
        *,
        dry_runs: DryRuns | None = None,
        of_services: Mapping[ServiceName, DryRuns | None] | None = None,
        servers: Mapping[ServiceName, ServerProcess] | None = None,
    ) -> None:
        """`dry_runs` is the planner of all services that are not named in `of_services`; `servers`
        names those that run something else than llama-server.
        """
        self._headers = headers
        self._dry_runs = dry_runs
        self._of_services = of_services or {}
        self._servers = servers or {}
        self._known: OrderedDict[object, Predicted] = OrderedDict()
        self._prepared: OrderedDict[object, None] = OrderedDict()
        self._remarks: dict[ModelName, Decide] = {}  # of models that were asked for so far
        self._said: dict[ModelName, Decide] = {}

    def expect(self, path: Path, header: Header) -> None:
        """What a file will hold that is still to come there."""
        self._headers.expect(path, header)

    def footprint(self, spec: ModelSpec) -> Footprint | None:
        """What is believed of a model whose own footprint is what was declared, if anything was.

        The files know it better, where they can be read and are understood. None if nobody knows.
        Raise Unpredictable, with what is wrong and where, if nothing was declared either.
        """
        declared = None if spec.footprint.unknown else spec.footprint
        if spec.file is None:
            return declared
        try:
            predicted = self._asked(spec)
        except Unpredictable:
            if declared is None:
                raise
            return declared
        self._remark(spec, declared, predicted)
        return predicted.footprint if declared is None or predicted.sure else declared

    def news(self) -> tuple[Decide, ...]:
        """What is worth saying of the footprints and has not been said. Never blocks."""
        fresh = [each for name, each in self._remarks.items() if self._said.get(name) != each]
        self._said = dict(self._remarks)
        return tuple(fresh)

    def changed(self, spec: ModelSpec, serving: Serving) -> Footprint | None:
        """What the same model takes under other settings; None if that cannot be told.

        Never blocks: what it looks up, `prepare` has asked for.
        """
        taken = self._remembered(replace(spec, serving=serving))
        if taken is None or taken.sure:
            return None if taken is None else taken.footprint
        base = self._remembered(spec)
        if base is None or base.methods != taken.methods:
            return spec.footprint.at_least(taken.footprint)
        return spec.footprint.moved(base.footprint, taken.footprint)

    def prepared(self, spec: ModelSpec) -> bool:
        """Whether `changed` and `fallbacks` know all there is to know. Never blocks."""
        if spec.file is None:
            return True
        try:
            files = self._files(spec, self._headers.remembered)
            planner = self._planner(spec, files)
        except Unpredictable:
            return False
        return planner is None or _preparation(spec, files) in self._prepared

    def prepare(self, spec: ModelSpec) -> None:
        """Read the files and ask the planner for what `changed` and `fallbacks` look up."""
        try:
            files = self._files(spec, self._headers.of)
            self._asked(spec)
            self._ladder(spec, self._asked)
        except Unpredictable:
            return  # what cannot be told is not promised either: the declaration stands
        _keep(self._prepared, _preparation(spec, files), None)

    def appraise(self, spec: ModelSpec) -> Appraisal:
        """In parts, for who wants to see them; of a model with a file. Raise Unpredictable."""
        files = self._files(spec, self._headers.of)
        parts = estimated(files, spec.serving, spec.span, self._planner(spec, files))
        return Appraisal(spec, parts, self._asked(spec).footprint)

    def fallbacks(self, spec: ModelSpec) -> tuple[Fallback, ...]:
        """What the operator's `degrade` list comes to, step by step. Never blocks."""
        return self._ladder(spec, self._remembered)

    def suggestions(
        self,
        spec: ModelSpec,
        room_bytes: int,
        *,
        on_host: bool,
        host_room_bytes: int | None = None,
    ) -> tuple[Suggestion, ...]:
        """What would fit into so much on each device, each to be sent back as it is.

        `host_room_bytes` are for what stays in host RAM beside them; None: as much as it takes.
        """
        if spec.file is None:
            return ()
        try:
            files = self._files(spec, self._headers.of)
            predicted = self._asked(spec).footprint
            planner = self._planner(spec, files)
            settings = settings_of(files, spec.serving, 0 if on_host else spec.span)
            # What was learned beyond the prediction holds for the suggestion too.
            if on_host:
                parts = estimated(files, spec.serving, 0, planner).host
                beside = spec.footprint.without_gpu_bytes - parts.total_bytes
                free_bytes: tuple[int, ...] = (room_bytes - beside,)
            else:
                beside = spec.footprint.device_bytes - predicted.device_bytes
                free_bytes = (room_bytes - beside // spec.span,) * spec.span
            if host_room_bytes is not None:
                grown = max(spec.footprint.host_bytes - predicted.host_bytes, 0)
                host_room_bytes -= grown + process_bytes(files, spec.serving)
            fit = fits.suggestions(
                files.model,
                settings,
                free_bytes,
                host_bytes=host_room_bytes,
                told_by=estimate if planner is None else planner.estimate,
            )
        except (Unpredictable, GgufError):
            return ()
        return tuple(_as_order({key: each}, spec.serving) for key, each in fit.suggestions.items())

    def _ladder(
        self, spec: ModelSpec, told: Callable[[ModelSpec], Predicted | None]
    ) -> tuple[Fallback, ...]:
        base = told(spec) if spec.degrade else None
        if base is None or spec.file is None:
            return ()
        layers = len(architecture_of(self._headers.remembered(Path(spec.file))).layers) + 1
        found: list[Fallback] = []
        serving, given_up, least = spec.serving, dict[str, str](), base.footprint
        for degrading in spec.degrade:
            for step in steps(degrading, spec, serving, layers):
                taken = told(replace(spec, serving=step.serving))
                # Between two ways of telling, the difference is theirs and not the settings'.
                if taken is None or taken.methods != base.methods:
                    continue
                if not taken.footprint.saves_on(least):
                    continue
                serving, least = step.serving, taken.footprint
                given_up[degrading] = step.given_up
                found.append(
                    Fallback(
                        serving=serving,
                        footprint=spec.footprint.moved(base.footprint, least),
                        given_up=tuple(given_up.values()),
                    )
                )
        return tuple(found)

    def _remark(self, spec: ModelSpec, declared: Footprint | None, predicted: Predicted) -> None:
        said = _difference(spec, declared, predicted) if declared else _doubt(spec, predicted)
        if said is None:
            self._remarks.pop(spec.name, None)
        else:
            self._remarks[spec.name] = said

    def _files(self, spec: ModelSpec, read: Callable[[Path], Header]) -> Files:
        assert spec.file is not None
        return Files(
            model=_read(read, spec.file, "file"),
            projector=None if spec.mmproj is None else _read(read, spec.mmproj, "mmproj"),
            adapters=tuple(_read(read, each, "lora", i) for i, each in enumerate(spec.lora)),
            server=self._servers.get(spec.service, LLAMA_SERVER),
        )

    def _planner(self, spec: ModelSpec, files: Files) -> DryRuns | None:
        """Who tells instead of the header, where that does not say enough."""
        return None if understood(files) else self._of_services.get(spec.service, self._dry_runs)

    def _asked(self, spec: ModelSpec) -> Predicted:
        """Raise Unpredictable."""
        files = self._files(spec, self._headers.of)
        planner = self._planner(spec, files)
        key = (files.identity, spec.serving, spec.span, planner)
        known = self._known.get(key)
        # A guess that stands in for a planner that did not answer stands until it is asked again.
        if known is None or (planner is not None and not known.sure):
            known = worked_out(files, spec, planner)
            _keep(self._known, key, known)
        return known

    def _remembered(self, spec: ModelSpec) -> Predicted | None:
        """Never blocks: as far as the files have been read and the planner has been asked."""
        if spec.file is None:
            return None
        try:
            files = self._files(spec, self._headers.remembered)
            planner = self._planner(spec, files)
            key = (files.identity, spec.serving, spec.span, planner)
            if key not in self._known and planner is None:
                _keep(self._known, key, worked_out(files, spec, None))
            return self._known.get(key)
        except Unpredictable:
            return None


def _read(read: Callable[[Path], Header], path: str, *where: str | int) -> Header:
    try:
        return read(Path(path))
    except GgufError as error:
        raise Unpredictable(where, f"cannot be used: {error}") from error


def _keep(among: OrderedDict[object, Known], key: object, known: Known) -> None:
    among[key] = known
    while len(among) > PREDICTIONS_MAX:
        among.popitem(last=False)


def _preparation(spec: ModelSpec, files: Files) -> object:
    return files.identity, spec.serving, spec.span, spec.degrade


def _doubt(spec: ModelSpec, predicted: Predicted) -> Decide | None:
    if predicted.sure:
        return None
    return Decide(
        kind=DecisionKind.CATALOGUE,
        model=spec.name,
        text=f"What {spec.name} takes is not certain: {'; '.join(predicted.doubts)}.",
        remedy="Its first load measures it; until then, vram_mb overrules the estimate.",
    )


def _difference(spec: ModelSpec, declared: Footprint, predicted: Predicted) -> Decide | None:
    """Only where what was declared fits neither a GPU nor a host without one."""
    told = predicted.footprint
    far = all(
        _far(mine, its)
        for mine, its in (
            (declared.device_bytes, told.device_bytes),
            (declared.total_bytes, told.without_gpu_bytes),
        )
    )
    if not far and not (declared.host_bytes and _far(declared.host_bytes, told.host_bytes)):
        return None
    believed = "its file" if predicted.sure else "what was declared"
    return Decide(
        kind=DecisionKind.CATALOGUE,
        model=spec.name,
        text=f"{spec.name} is declared with {_in_words(declared)}; by its file it takes "
        f"{_in_words(told)}, {to_mb(told.without_gpu_bytes)} MB without a GPU. "
        f"Until it is measured, {believed} is believed.",
        why="; ".join(predicted.doubts),
        remedy="Correct vram_mb and host_mb, or leave them out.",
    )


def _far(declared_bytes: int, told_bytes: int) -> bool:
    return abs(declared_bytes - told_bytes) > DIFFERENCE_SAID * told_bytes


def _in_words(footprint: Footprint) -> str:
    beside = f" and {to_mb(footprint.host_bytes)} MB of host RAM" if footprint.host_bytes else ""
    return f"{to_mb(footprint.device_bytes)} MB{beside}"


def _as_order(changed: Suggestion, serving: Serving) -> Suggestion:
    """As a load takes it: the context of one slot, where each has its own."""
    context = changed.get("context_size")
    if isinstance(context, int) and not serving.unified_cache:
        return {"context_size": context // serving.slots}
    return changed
