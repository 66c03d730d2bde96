"""The catalogue that is in force: the file's models, those added at run time, and what was learned.

Turns an order into the spec that is scheduled.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.catalogue.added import (
    ADDED_FILE,
    Body,
    read_added,
    require_all_right,
    write_added,
)
from orchestrator.catalogue.found.discovery import Discovery, no_places
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.ordered import named, ordered
from orchestrator.catalogue.predictions import Predictions, UnderSettings
from orchestrator.config.bodies import kept_model, parse_model
from orchestrator.config.loading import Config, configured_model
from orchestrator.config.paths import last_changed
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, Serving
from orchestrator.errors import Denied, Unpredictable
from orchestrator.gguf.headers import Headers
from orchestrator.hub import projector_beside
from orchestrator.orders import LoadOrder, ReloadOutcome

SETTINGS_MAX = 1024  # of orders, kept with what they come to: a kilobyte or two each
RESOLVED_AGAIN_MAX = 5  # an order whose model was changed while its settings were worked out
CHANGE_WAIT_S_MAX = 60.0  # for another change, which reads the files of the catalogue


@dataclass(frozen=True, slots=True)
class _InForce:
    """One state of the catalogue, and what its files told of orders: both end with a change."""

    specs: ModelSpecs
    told: dict[tuple[ModelName, Serving], UnderSettings] = field(default_factory=dict)

    def keep(self, name: ModelName, serving: Serving, told: UnderSettings) -> None:
        self.told[name, serving] = told
        if len(self.told) > SETTINGS_MAX:
            del self.told[next(iter(self.told))]


class Catalogue:
    def __init__(
        self,
        *,
        config: Config,
        load: Callable[[], Config],
        experience: Experience,
        predictions: Predictions,
        cached: Callable[[str], Path | None],
        discovery: Discovery | None = None,
    ) -> None:
        """`cached` says where a model of a hub lies, if it was pulled already; `discovery` finds
        the models that nobody wrote down.

        Raise ConfigInvalid if what was added at run time cannot be read.
        """
        self.config = config
        self._load = load
        self._experience = experience
        self.predictions = predictions
        self._cached = cached
        self._discovery = discovery or Discovery(no_places, Headers().of)
        self._added: Mapping[str, Body] = read_added(config.state_dir)
        self._in_force = _InForce(self._compiled(config, self._added))
        self._said: dict[ModelName, Failure] = {}
        self._found_anew = False
        self._changing = asyncio.Lock()

    # --- reading ---------------------------------------------------------------------------------

    @property
    def specs(self) -> ModelSpecs:
        """Every model as the operator and its files have it."""
        return self._in_force.specs

    @property
    def believed(self) -> ModelSpecs:
        """Every model with what is believed of it now: what a load as configured would be.

        The same mapping, and in it the same spec of a model, until something of it changes.
        """
        return self._experience.shown(self.specs)

    def news(self) -> tuple[Decide, ...]:
        """What the models' files say of them that this has not returned before. Never blocks."""
        failed = {name: spec.failed for name, spec in self.specs.items() if spec.failed}
        said, self._said = self._said, failed
        lost = [name for name, failure in failed.items() if said.get(name) != failure]
        mended = [name for name in said if name not in failed and name in self.specs]
        return (
            *(_cannot_be_loaded(self.specs[name], failed[name]) for name in lost),
            *(_can_be_loaded_again(name) for name in mended),
            *self.predictions.news(),
            *self._discovery.news(),
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be looked at for models, in sentences."""
        return self._discovery.notes

    def named(self, name: str) -> ModelSpec:
        """By name or alias. Raise Denied with the nearest names if there is none."""
        return named(name, self.specs)

    async def resolve(self, order: LoadOrder) -> ModelSpec:
        """The model as ordered, with the footprint that is believed: what is to be scheduled.

        At once for a model as configured. Other settings, and lesser ones that it may fall back
        to, are worked out in a thread when they are first asked for; it holds for the catalogue
        at the moment of the return. Raise Denied.
        """
        for _ in range(RESOLVED_AGAIN_MAX):
            spec = self.named(order.model)
            wanted = ordered(order, spec, self.config)
            if wanted is spec and not spec.degrade:
                return self.believed[spec.name]
            told = await self._under(wanted.serving, spec)
            if self.specs.get(spec.name) == spec:
                return self._scheduled(replace(wanted, footprint=told.footprint), told)
        raise Denied(
            Refusal(
                code=RefusalCode.CONFLICT,
                detail=f"{order.model} was changed again and again while its settings were "
                "worked out.",
                remedy="Send the order again.",
            )
        )

    async def _under(self, serving: Serving, spec: ModelSpec) -> UnderSettings:
        """Does not give way to other tasks where it is known, or nothing is to be told."""
        if serving == spec.serving and not spec.degrade:
            return UnderSettings(spec.footprint)
        in_force = self._in_force
        is_in_force = in_force.specs.get(spec.name) is spec
        told = in_force.told.get((spec.name, serving)) if is_in_force else None
        if told is None:
            told = await asyncio.to_thread(self.predictions.under, serving, spec)
            if is_in_force:
                in_force.keep(spec.name, serving, told)
        return told

    def _scheduled(self, wanted: ModelSpec, told: UnderSettings) -> ModelSpec:
        believed = self._experience.believed(wanted)
        return replace(believed, fallbacks=told.fallbacks(believed.footprint))

    # --- changing --------------------------------------------------------------------------------

    async def take_in(self, found: ModelSpec) -> ModelSpec:
        """The files of a hub's model are known, or here: the catalogue names them from now on.

        Return the same wish as it is to be scheduled. A reload that is reading files at this
        moment may not know of them: then they are found again when the model is next wanted.
        """
        known = self.specs.get(found.name)
        here = found
        if known is not None and known.hub == found.hub:
            here = replace(known, file=found.file, mmproj=found.mmproj)
            if here.footprint.unknown:
                here = await asyncio.to_thread(self._sized, here)
            if self.specs.get(found.name) is known:
                self._in_force = _InForce({**self.specs, found.name: here})
        return self._scheduled(found, await self._under(found.serving, here))

    async def look_again(self, name: str) -> bool:
        """Whether a model that stood as failed has changed with its files. Raise Denied."""
        if self.named(name).failed is None:
            return False
        async with self._change():
            before = self.named(name)
            now = await asyncio.to_thread(self._as_it_is_now, before.name)
            if now == before:
                return False
            self._in_force = _InForce({**self.specs, before.name: now})
        return True

    async def put(self, name: str, body: Body) -> ModelSpec:
        """Raise ConfigInvalid with every mistake in it; nothing has changed then."""
        async with self._change():
            spec = await asyncio.to_thread(  # its files are read
                parse_model,
                self.config,
                name,
                body,
                taken=self._written,
                estimate=self.predictions.footprint,
            )
            await self._keep_added({**self._added, name: body})
            return self.specs[spec.name]

    async def delete(self, name: ModelName) -> None:
        """Raise Denied for a model of the file: only the file can take it out."""
        async with self._change():
            if (spec := self.specs.get(name)) is not None and spec.found:
                raise Denied(_is_found(spec, self._discovery.path_of(name)))
            if name not in self._added:
                raise Denied(
                    Refusal(
                        code=RefusalCode.CONFLICT,
                        detail=f"{name} stands in the configuration file.",
                        remedy="Take it out there and reload (POST /admin/reload).",
                    )
                )
            others = {key: body for key, body in self._added.items() if key != name}
            await self._keep_added(others)

    async def reload(self) -> ReloadOutcome:
        """Read the file again. Raise ConfigInvalid; nothing has changed then."""
        async with self._change():
            changed_s = await asyncio.to_thread(last_changed, self.config.path)
            config = await asyncio.to_thread(self._load)
            await asyncio.to_thread(self._discovery.sweep, config.discovery)
            specs = await asyncio.to_thread(self._compiled, config, self._added)
            require_all_right(_written(specs))
            changed = _changed((self.config, self.specs), (config, specs))
            needs_restart = _needs_restart(self.config, config)
            self.config, self._in_force = config, _InForce(specs)
        return ReloadOutcome(
            changed=changed,
            needs_restart=needs_restart,
            file=str(config.path),
            file_changed_s=changed_s,
        )

    async def sweep(self) -> bool:
        """Look for models among the files. Whether the catalogue is another one now.

        Raise Denied where another change does not end.
        """
        if not self.config.discovery.on and not self._discovery.finds:
            return False
        if self._discovery.rests:
            return False
        if await asyncio.to_thread(self._discovery.sweep, self.config.discovery):
            self._found_anew = True
        if not self._found_anew:
            return False
        async with self._change():
            before, self._found_anew = self.specs, False
            found = await asyncio.to_thread(self._found, self.config, self._written)
            # A model of a hub may have learned of its file meanwhile.
            self._in_force = _InForce({**self._written, **found})
        return self.specs != before

    @property
    def _written(self) -> ModelSpecs:
        return _written(self.specs)

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One change at a time. Raise Denied where the one under way does not end."""
        try:
            async with asyncio.timeout(CHANGE_WAIT_S_MAX):
                await self._changing.acquire()
        except TimeoutError:
            detail = f"Another change of the catalogue has not ended in {CHANGE_WAIT_S_MAX:g} s."
            remedy = "Do the disks answer that its models lie on? Send it again."
            code = RefusalCode.CONFLICT
            raise Denied(Refusal(code=code, detail=detail, remedy=remedy)) from None
        try:
            yield
        finally:
            self._changing.release()

    async def _keep_added(self, added: Mapping[str, Body]) -> None:
        specs = await asyncio.to_thread(self._compiled, self.config, added)
        await asyncio.to_thread(write_added, self.config.state_dir, added)
        self._added = added
        self._in_force = _InForce(specs)

    def _compiled(self, config: Config, added: Mapping[str, Body]) -> ModelSpecs:
        """Blocking: files are read. What was added and is not right any more stands as failed."""
        specs = {name: self._at_hand(spec) for name, spec in config.catalogue.items()}
        for name, body in added.items():
            spec = self._kept(config, name, body, specs)
            specs[spec.name] = self._at_hand(spec)
        return {**specs, **self._found(config, specs)}

    def _found(self, config: Config, written: ModelSpecs) -> ModelSpecs:
        """What is written goes before what is found: the same name, or the same file."""
        return self._discovery.beside(config, written, self.predictions.footprint)

    def _as_it_is_now(self, name: ModelName) -> ModelSpec:
        if self.specs[name].found:
            return self.specs[name]  # the next sweep tells
        body = self._added.get(name)
        return self._at_hand(
            configured_model(self.config, name, self.predictions.footprint)
            if body is None
            else self._kept(self.config, name, body, self.specs)
        )

    def _kept(self, config: Config, name: str, body: Body, taken: ModelSpecs) -> ModelSpec:
        kept_in, estimate = config.state_dir / ADDED_FILE, self.predictions.footprint
        return kept_model(config, name, body, kept_in=kept_in, taken=taken, estimate=estimate)

    def _at_hand(self, spec: ModelSpec) -> ModelSpec:
        """A model of a hub that was pulled already is like any other."""
        here = None if spec.hub is None or spec.failed else self._cached(spec.hub)
        if here is None:
            return spec
        return self._sized(located(spec, here))

    def _sized(self, spec: ModelSpec) -> ModelSpec:
        try:
            return replace(spec, footprint=self.predictions.footprint(spec) or spec.footprint)
        except Unpredictable:
            return spec  # a load of it is refused with what is wrong


def _written(specs: ModelSpecs) -> ModelSpecs:
    return {name: spec for name, spec in specs.items() if not spec.found}


def _is_found(spec: ModelSpec, path: Path | None) -> Refusal:
    return Refusal(
        code=RefusalCode.CONFLICT,
        detail=f"{spec.name} is a model because its file is there: {path}.",
        remedy="Move the file away, or take its place out of `discovery`.",
    )


def cannot_be_loaded(spec: ModelSpec) -> str:
    return f"{spec.name} cannot be loaded{'' if spec.found else ' as it is written'}"


def located(spec: ModelSpec, file: Path) -> ModelSpec:
    """With the files that lie there: the projector that came with them is used."""
    projector = projector_beside(file) if spec.mmproj is None else None
    return replace(spec, file=str(file), mmproj=str(projector) if projector else spec.mmproj)


def _cannot_be_loaded(spec: ModelSpec, failure: Failure) -> Decide:
    return Decide(
        kind=DecisionKind.CATALOGUE,
        model=spec.name,
        text=f"{cannot_be_loaded(spec)}: {failure.detail}",
        why=failure.reason,
        remedy=failure.remedy,
    )


def _can_be_loaded_again(name: ModelName) -> Decide:
    text = f"{name} can be loaded again: what was wrong with it is mended."
    return Decide(kind=DecisionKind.CATALOGUE, model=name, text=text)


def _changed(
    before: tuple[Config, ModelSpecs], after: tuple[Config, ModelSpecs]
) -> tuple[str, ...]:
    (old, old_specs), (new, new_specs) = before, after
    changed = [
        f"models.{name}"
        for name in sorted({*new_specs, *old_specs})
        if new_specs.get(name) != old_specs.get(name)
    ]
    if new.scheduling != old.scheduling:
        changed.append("scheduling")
    if (new.devices.headroom_mb, new.devices.budget_mb) != (
        old.devices.headroom_mb,
        old.devices.budget_mb,
    ):
        changed.append("devices")
    return tuple(changed)


def _needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    needs = [f"services.{name}" for name in after.services if name not in before.services]
    needs += [
        f"services.{name}"
        for name, entry in before.services.items()
        if after.services.get(name) != entry
    ]
    if before.server != after.server:
        needs.append("server")
    if before.edge != after.edge:
        needs.append("edge")
    if before.audit != after.audit:
        needs.append("audit")
    if before.state_dir != after.state_dir:
        needs.append("state_dir")
    if (before.devices.source, before.devices.fake, before.devices.sample_interval_s) != (
        after.devices.source,
        after.devices.fake,
        after.devices.sample_interval_s,
    ):
        needs.append("devices")
    return tuple(sorted(set(needs)))
