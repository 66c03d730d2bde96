"""The catalogue that is in force: the file's models, those added at run time, and what was learned.

Turns an order into the spec that is scheduled.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestrator.catalogue.hub_supply import located
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictor import Predictor, Unpredicting, nothing_cached
from orchestrator.config import Config, parse_model
from orchestrator.config.cores import physical_cores
from orchestrator.config.models import PLAIN_CACHES, roots_of, settings_home
from orchestrator.config.paths import Misplaced, locate
from orchestrator.config.profiles import with_profile
from orchestrator.config.sections import CacheType, EngineName
from orchestrator.config.yaml_lines import Plain
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, Serving
from orchestrator.errors import ConfigInvalid, Denied, RegistryFailed, Unpredictable
from orchestrator.orders import EstimateOrder, Layers, LoadOrder, ReloadOutcome

ADDED_FILE = "models.json"  # models that were put through the API, in the state directory
NAMES_SUGGESTED_MAX = 5
ORDERED_SETTINGS = ("profile", "context_size", "gpu_layers", "cache_type")  # that a load may bring
NAME_CHARS_MAX = 128  # of a file that is estimated, shown as if it were a model

Body = Mapping[str, Plain]


class Catalogue:
    def __init__(
        self,
        *,
        config: Config,
        load: Callable[[], Config],
        experience: Experience,
        predictor: Predictor | None = None,
        cached: Callable[[str], Path | None] = nothing_cached,
    ) -> None:
        """`cached` says where a model of a hub lies, if it was pulled already.

        Raise ConfigInvalid if a model that was added at run time no longer fits the file.
        """
        self.config = config
        self._load = load
        self._experience = experience
        self.predictor = predictor or Unpredicting()
        self._cached = cached
        self._added: dict[str, Body] = _read_added(config.state_dir)
        self.specs: ModelSpecs = self._compiled(config)

    # --- reading ---------------------------------------------------------------------------------

    @property
    def believed(self) -> ModelSpecs:
        """Every model with what is believed of it now: what a load as configured would be."""
        return self._experience.shown(self.specs)

    def named(self, name: str) -> ModelSpec:
        """By name or alias. Raise Denied with the nearest names if there is none."""
        spec = self.specs.get(ModelName(name))
        if spec is None:
            spec = next((each for each in self.specs.values() if name in each.aliases), None)
        if spec is None:
            raise Denied(_unknown(name, self.specs))
        return spec

    async def foresee(self, order: LoadOrder) -> None:
        """Find out beside the loop what `spec_for` does not know yet. Raise Denied as it does."""
        wanted = self._wanted(order)
        asks = wanted.degrade or wanted.serving != self.named(order.model).serving
        if asks and not self.predictor.prepared(wanted):
            await asyncio.to_thread(self.predictor.prepare, wanted)

    def spec_for(self, order: LoadOrder) -> ModelSpec:
        """The model as ordered, with the footprint that is believed in. Raise Denied."""
        spec, wanted = self.named(order.model), self._wanted(order)
        if wanted.serving != spec.serving:
            changed = self.predictor.changed(spec, wanted.serving)
            wanted = replace(wanted, footprint=changed or spec.footprint)
        return self._as_scheduled(wanted)

    def _as_scheduled(self, wanted: ModelSpec) -> ModelSpec:
        believed = self._experience.believed(wanted)
        if not wanted.degrade:
            return believed
        return replace(believed, fallbacks=self.predictor.fallbacks(believed))

    def _wanted(self, order: LoadOrder) -> ModelSpec:
        """The model under the settings that are asked for."""
        spec = self.named(order.model)
        if order.service is not None and order.service != spec.service:
            raise Denied(self._wrong_service(order.service, spec))
        self._refuse_settings(order, spec)
        serving = spec.serving
        if order.profile is not None:
            serving = with_profile(serving, order.profile, physical_cores=physical_cores())
        if order.context_size is not None:
            serving = replace(serving, context_size=order.context_size)
        if order.gpu_layers is not None:
            serving = replace(serving, gpu_layers=_layers(order.gpu_layers))
        if order.cache_type is not None:
            kind = order.cache_type
            serving = replace(serving, cache_type_k=kind, cache_type_v=kind)
            _require_flash_attention(spec, serving)
        return replace(spec, serving=serving, profile=order.profile or spec.profile)

    def spec_to_estimate(self, order: EstimateOrder) -> ModelSpec:
        """What is asked about: a model, or a file that a service may read, under such settings.

        Raise Denied for a model that is not there, ConfigInvalid for a file that may not be read.
        """
        spec = self._of_file(order) if order.model is None else self.named(order.model)
        if spec.file is None:
            raise ConfigInvalid((f"model: {spec.name} has no file to estimate from",))
        if order.model is not None and order.mmproj is not None:
            spec = replace(spec, mmproj=self._located(order.mmproj, spec))
        serving = spec.serving
        asked = {
            "context_size": order.context_size,
            "slots": order.slots,
            "unified_cache": order.unified_cache,
            "cache_type_k": order.cache_type,
            "cache_type_v": order.cache_type,
            "ubatch": order.ubatch,
            "batch": order.ubatch and max(serving.batch, order.ubatch),
            "flash_attention": order.flash_attention,
        }
        said: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        if order.gpu_layers is not None:
            said["gpu_layers"] = _layers(order.gpu_layers)
        wanted = replace(serving, **said)
        if (kind := _cache_without_flash_attention(wanted)) is not None:
            raise ConfigInvalid((f"cache_type: {kind} needs flash_attention: true",))
        return replace(spec, serving=wanted, span=order.gpus or spec.span)

    def _located(self, mmproj: str, spec: ModelSpec) -> str:
        try:
            return locate(mmproj, roots_of(self.config.services[spec.service]))
        except Misplaced as error:
            raise ConfigInvalid((f"mmproj: {error}",)) from error

    def _of_file(self, order: EstimateOrder) -> ModelSpec:
        services = {
            name: entry
            for name, entry in self.config.services.items()
            if order.service in (None, name) and entry.engine is not EngineName.FAKE
        }
        problem = f"service: there is no service {order.service!r} whose engine reads files"
        for name, entry in services.items():
            roots = roots_of(entry)
            try:
                return ModelSpec(
                    name=ModelName(Path(order.file or "").name[:NAME_CHARS_MAX]),
                    service=name,
                    footprint=Footprint(device_bytes=0),
                    file=locate(order.file or "", roots),
                    mmproj=None if order.mmproj is None else locate(order.mmproj, roots),
                )
            except Misplaced as error:
                problem = f"file: {error}"
        raise ConfigInvalid((problem,))

    # --- changing --------------------------------------------------------------------------------

    def take_in(self, found: ModelSpec) -> ModelSpec:
        """The files of a model were found or brought: the catalogue names them from now on.

        Return the same wish as it is to be scheduled.
        """
        known = self.specs.get(found.name)
        if known is not None and known.hub == found.hub:
            known = replace(known, file=found.file, mmproj=found.mmproj)
            if known.footprint.unknown and known.serving == found.serving:
                known = replace(known, footprint=found.footprint)
            elif known.footprint.unknown:
                told = self.predictor.changed(known, known.serving)
                known = replace(known, footprint=told or known.footprint)
            self.specs = {**self.specs, known.name: known}
        return self._as_scheduled(found)

    async def put(self, name: str, body: Body) -> ModelSpec:
        """Raise ConfigInvalid with every mistake in it; nothing has changed then."""
        spec = await asyncio.to_thread(  # its files are read
            parse_model,
            self.config,
            name,
            body,
            taken=self.specs,
            estimate=self.predictor.footprint,
        )
        await self._keep_added({**self._added, name: body})
        return self.specs[spec.name]

    async def delete(self, name: ModelName) -> None:
        """Raise Denied for a model of the file: only the file can take it out."""
        if name not in self._added:
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{name} stands in the configuration file.",
                    remedy="Take it out there and reload (POST /admin/reload).",
                )
            )
        await self._keep_added({key: each for key, each in self._added.items() if key != name})

    async def reload(self) -> ReloadOutcome:
        """Read the file again. Raise ConfigInvalid; nothing has changed then."""
        config = await asyncio.to_thread(self._load)
        catalogue = self._compiled(config)
        before = self.config
        changed = [
            f"models.{name}"
            for name in sorted({*catalogue, *self.specs})
            if catalogue.get(name) != self.specs.get(name)
        ]
        if config.scheduling != before.scheduling:
            changed.append("scheduling")
        if (config.devices.headroom_mb, config.devices.budget_mb) != (
            before.devices.headroom_mb,
            before.devices.budget_mb,
        ):
            changed.append("devices")
        self.config, self.specs = config, catalogue
        return ReloadOutcome(changed=tuple(changed), needs_restart=_needs_restart(before, config))

    async def _keep_added(self, added: Mapping[str, Body]) -> None:
        catalogue = self._compiled(self.config, added)
        await asyncio.to_thread(_write_added, self.config.state_dir, added)
        self._added = dict(added)
        self.specs = catalogue

    def _compiled(self, config: Config, added: Mapping[str, Body] | None = None) -> ModelSpecs:
        catalogue = {name: self._at_hand(spec) for name, spec in config.catalogue.items()}
        for name, body in (self._added if added is None else added).items():
            spec = parse_model(
                config, name, body, taken=catalogue, estimate=self.predictor.footprint
            )
            catalogue[spec.name] = self._at_hand(spec)
        return catalogue

    def _at_hand(self, spec: ModelSpec) -> ModelSpec:
        """A model of a hub that was pulled already is like any other."""
        here = None if spec.hub is None else self._cached(spec.hub)
        if here is None:
            return spec
        spec = located(spec, here)
        try:
            return replace(spec, footprint=self.predictor.footprint(spec) or spec.footprint)
        except Unpredictable:
            return spec  # whoever loads it hears what is wrong with it

    def _refuse_settings(self, order: LoadOrder, spec: ModelSpec) -> None:
        """Raise Denied if the order wants to change what is not ours to choose."""
        service = self.config.services.get(spec.service)
        home = settings_home(service) if service is not None else None
        asked = [key for key in ORDERED_SETTINGS if getattr(order, key) is not None]
        if home is not None and asked:
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{spec.name} runs with the settings of whoever defined its server: "
                    f"{', '.join(asked)} of a load would change nothing.",
                    remedy=f"Leave that out, or set it where {home}.",
                )
            )

    def _wrong_service(self, service: str, spec: ModelSpec) -> Refusal:
        if service not in self.config.services:
            return Refusal(
                code=RefusalCode.UNKNOWN_SERVICE,
                detail=f"There is no service {service!r}.",
                remedy=f"{spec.name} belongs to {spec.service!r}; `service` may be left out.",
            )
        return Refusal(
            code=RefusalCode.CONFLICT,
            detail=f"{spec.name} belongs to service {spec.service!r}, not to {service!r}.",
            remedy="Leave `service` out, or name the model's own.",
        )


def _layers(said: Layers) -> int | None:
    return None if said == "all" else said


def _cache_without_flash_attention(serving: Serving) -> str | None:
    """The type of cache that the server would refuse."""
    plain = serving.flash_attention or CacheType(serving.cache_type_v) in PLAIN_CACHES
    return None if plain else serving.cache_type_v


def _require_flash_attention(spec: ModelSpec, serving: Serving) -> None:
    if _cache_without_flash_attention(serving) is None:
        return
    raise Denied(
        Refusal(
            code=RefusalCode.CONFLICT,
            detail=f"{spec.name} runs without flash attention, which {serving.cache_type_v} needs.",
            remedy="Set flash_attention: true for the model, or ask for f16.",
        )
    )


def _unknown(name: str, catalogue: ModelSpecs) -> Refusal:
    names = [word for spec in catalogue.values() for word in (spec.name, *spec.aliases)]
    near = get_close_matches(name[:200], names, n=NAMES_SUGGESTED_MAX)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return Refusal(
        code=RefusalCode.UNKNOWN_MODEL,
        detail=f"There is no model {name[:200]!r} in the catalogue.",
        remedy=f"{meant}GET /models lists what there is.",
    )


def _needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    needs = [f"services.{name}" for name in after.services if name not in before.services]
    needs += [
        f"services.{name}"
        for name, each in before.services.items()
        if after.services.get(name) != each
    ]
    if before.server != after.server:
        needs.append("server")
    if before.state_dir != after.state_dir:
        needs.append("state_dir")
    if (before.devices.source, before.devices.fake, before.devices.sample_interval_s) != (
        after.devices.source,
        after.devices.fake,
        after.devices.sample_interval_s,
    ):
        needs.append("devices")
    return tuple(sorted(set(needs)))


def _read_added(state_dir: Path) -> dict[str, Body]:
    path = state_dir / ADDED_FILE
    try:
        added = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        remedy = "mend it or move it away"
        raise ConfigInvalid((f"{path}: cannot be read: {error}; {remedy}",)) from error
    if not isinstance(added, dict) or not all(isinstance(each, dict) for each in added.values()):
        raise ConfigInvalid((f"{path}: must map names to models; mend it or move it away",))
    return added


def _write_added(state_dir: Path, added: Mapping[str, Body]) -> None:
    """Whole or not at all. Raise RegistryFailed if the disk refuses."""
    path = state_dir / ADDED_FILE
    draft = path.with_suffix(".tmp")
    try:
        with draft.open("w") as file:
            json.dump(added, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise RegistryFailed(f"{path} could not be written: {error.strerror}") from error
