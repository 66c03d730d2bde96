"""What models will take, told from their files before they run, and remembered."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.catalogue.quantizations import Quantizations, Way
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
from orchestrator.config.llama_flags import moving
from orchestrator.core.learning.degrading import steps
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint
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

DIFFERENCE_SAID = 0.1  # of what the file says: a declaration further off is remarked on
PREDICTIONS_MAX = 4096  # of some hundred bytes: hundreds of models under several settings


@dataclass(frozen=True, slots=True)
class UnderSettings:
    """What the files say of a model under the settings of an order."""

    footprint: Footprint  # what the catalogue says, moved to these settings
    predicted: Footprint | None = None  # by the files alone; None: they do not tell
    ladder: tuple[Fallback, ...] = ()  # the operator's `degrade` list, by the files alone

    def fallbacks(self, believed: Footprint) -> tuple[Fallback, ...]:
        """The ladder from what is believed of the settings above it."""
        base = self.predicted
        if base is None:
            return ()
        return tuple(
            replace(step, footprint=believed.moved(base, step.footprint)) for step in self.ladder
        )


class Predictions:
    """Footprints by the files, worked out once. Blocking: run it in a thread.

    Several threads may ask: at worst the same footprint is worked out twice.
    """

    def __init__(
        self,
        headers: Headers,
        *,
        dry_runs: DryRuns | None = None,
        of_services: Mapping[ServiceName, DryRuns | None] | None = None,
        servers: Mapping[ServiceName, ServerProcess] | None = None,
    ) -> None:
        """`dry_runs`: the planner of the services that `of_services` does not name. `servers`: what
        the services run whose server is not llama-server.
        """
        self.headers = headers
        self.quantizations = Quantizations(headers)
        self._dry_runs = dry_runs
        self._of_services = of_services or {}
        self._servers = servers or {}
        self._known: OrderedDict[object, Predicted] = OrderedDict()
        self._remarks: dict[ModelName, Decide] = {}  # of models that were asked for so far
        self._said: dict[ModelName, Decide] = {}

    def expect(self, path: Path, header: Header) -> None:
        """The header of a file that will be downloaded to `path`."""
        self.headers.expect(path, header)

    def files(self, spec: ModelSpec) -> Files | None:
        """What the files of a model say of themselves. None where they cannot be read, or it has
        none that are ours.
        """
        try:
            return None if spec.file is None else self._files(spec, self.headers.of)
        except Unpredictable:
            return None

    def footprint(self, spec: ModelSpec) -> Footprint | None:
        """What to believe of a model whose own footprint is the declared one, or UNKNOWN.

        Its files are believed before the declaration where they can be read and are understood.
        None where there is neither a file nor a declaration. Raise Unpredictable, with what is
        wrong and where, if the file is at fault and nothing was declared.
        """
        declared = None if spec.footprint.unknown else spec.footprint
        if not _tells(spec):
            return declared
        try:
            predicted = self._asked(spec, self._files(spec, self.headers.of))
        except Unpredictable:
            if declared is None:
                raise
            return declared
        self._remark(spec, declared, predicted)
        return predicted.footprint if declared is None or predicted.sure else declared

    def news(self) -> tuple[Decide, ...]:
        """Remarks on footprints that this has not returned before. Never blocks."""
        remarks = dict(self._remarks)  # threads may add to them meanwhile
        fresh = tuple(said for name, said in remarks.items() if self._said.get(name) != said)
        self._said = remarks
        return (*fresh, *self.quantizations.news())

    def ways(self, spec: ModelSpec) -> tuple[Way, ...]:
        """All known quantizations of a model under its settings, the best first."""
        return self.quantizations.of(spec, self.footprint) if _tells(spec) else ()

    def under(self, serving: Serving, spec: ModelSpec) -> UnderSettings:
        """What a model of the catalogue takes under the settings of an order, and under lesser.

        Where its files do not tell, what the catalogue says stands. They are not looked at again:
        this is told of the same files as the catalogue's own figure.
        """
        wanted = replace(spec, serving=serving)
        taken = self._told(wanted)
        if taken is None:
            return UnderSettings(spec.footprint)
        footprint = spec.footprint if serving == spec.serving else self._moved(spec, taken)
        return UnderSettings(footprint, taken.footprint, tuple(self._ladder(wanted, taken)))

    def appraise(self, spec: ModelSpec) -> Appraisal:
        """The estimate in its parts, of a model with a file. Raise Unpredictable."""
        if (flag := moving(spec.serving.extra_args)) is not None:
            raise Unpredictable(
                ("extra_args",), f"holds {flag}: its file does not tell what it takes"
            )
        files = self._files(spec, self.headers.of)
        parts = estimated(files, spec.serving, spec.span, self._planner(spec, files))
        return Appraisal(spec, parts, self._asked(spec, files).footprint)

    def suggestions(
        self,
        spec: ModelSpec,
        room_bytes: int,
        *,
        on_host: bool,
        host_room_bytes: int | None = None,
    ) -> tuple[Suggestion, ...]:
        """Changed settings that would fit into `room_bytes` of every device, ready to be sent.

        `host_room_bytes`: for what stays in host RAM beside them; None: as much as it takes.
        """
        if not _tells(spec):
            return ()
        try:
            files = self._files(spec, self.headers.of)
            predicted = self._asked(spec, files).footprint
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
        return tuple(_as_order({key: v}, spec.serving) for key, v in fit.suggestions.items())

    def _moved(self, spec: ModelSpec, taken: Predicted) -> Footprint:
        if taken.sure:
            return taken.footprint
        base = self._told(spec)
        if base is None or base.methods != taken.methods:
            return spec.footprint.at_least(taken.footprint)
        return spec.footprint.moved(base.footprint, taken.footprint)

    def _ladder(self, spec: ModelSpec, base: Predicted) -> Iterator[Fallback]:
        """What the operator's `degrade` list comes to, step by step."""
        assert spec.file is not None, "it was told by its file"
        layers = len(architecture_of(self.headers.remembered(Path(spec.file))).layers) + 1
        serving, given_up, least = spec.serving, dict[str, str](), base.footprint
        for degrading in spec.degrade:
            for step in steps(degrading, spec, serving, layers):
                taken = self._told(replace(spec, serving=step.serving))
                # A plan less a guess is not what the settings save.
                if taken is None or taken.methods != base.methods:
                    continue
                if not taken.footprint.saves_on(least):
                    continue
                serving, least = step.serving, taken.footprint
                given_up[degrading] = step.given_up
                yield Fallback(serving=serving, footprint=least, given_up=tuple(given_up.values()))

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
            adapters=tuple(_read(read, path, "lora", i) for i, path in enumerate(spec.lora)),
            server=self._servers.get(spec.service, LLAMA_SERVER),
        )

    def _planner(self, spec: ModelSpec, files: Files) -> DryRuns | None:
        """What to ask instead, where the header does not say enough."""
        return None if understood(files) else self._of_services.get(spec.service, self._dry_runs)

    def _told(self, spec: ModelSpec) -> Predicted | None:
        """By the files as they were last read, and a planner once. None where they do not tell."""
        if not _tells(spec):
            return None
        try:
            files = self._files(spec, self.headers.remembered)
            return self._asked(spec, files, once=True)
        except Unpredictable:
            return None

    def _asked(self, spec: ModelSpec, files: Files, *, once: bool = False) -> Predicted:
        """A planner that did not answer is asked again, unless `once`. Raise Unpredictable."""
        planner = self._planner(spec, files)
        key = (files.identity, spec.serving, spec.span, planner)
        known = self._known.get(key)
        if known is None or (planner is not None and not known.sure and not once):
            known = worked_out(files, spec, planner)
            self._known[key] = known
            while len(self._known) > PREDICTIONS_MAX:
                self._known.popitem(last=False)
        return known


def _tells(spec: ModelSpec) -> bool:
    """Whether its files tell what it takes: with some arguments of the operator's they do not."""
    return spec.file is not None and moving(spec.serving.extra_args) is None


def _read(read: Callable[[Path], Header], path: str, *where: str | int) -> Header:
    try:
        return read(Path(path))
    except GgufError as error:
        raise Unpredictable(where, f"cannot be used: {error}") from error


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
    """As a load takes it: the context of one slot, where every slot has its own."""
    context = changed.get("context_size")
    if isinstance(context, int) and not serving.unified_cache:
        return {"context_size": context // serving.slots}
    return changed
