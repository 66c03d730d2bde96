"""What an order asks for: which model, under which settings, and what may not be asked."""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestrator.config.adapters import plain_scales
from orchestrator.config.cores import physical_cores
from orchestrator.config.engines import kind_of
from orchestrator.config.loading import Config
from orchestrator.config.models import PLAIN_CACHES
from orchestrator.config.paths import Misplaced, locate, on_a_hub
from orchestrator.config.profiles import unknown_profile, with_profile
from orchestrator.config.sections import CacheType, ServiceEntry
from orchestrator.config.services import launched_by_us, roots_of, settings_home
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName, Serving
from orchestrator.errors import ConfigInvalid, Denied
from orchestrator.orders import EstimateOrder, Layers, LoadOrder

NAMES_SUGGESTED_MAX = 5
# That a load may bring.
ORDERED_SETTINGS = ("profile", "context_size", "gpu_layers", "cache_type", "lora_scales")
NAME_CHARS_MAX = 128  # of a file that is estimated, shown as if it were a model


def named(name: str, specs: ModelSpecs) -> ModelSpec:
    """By name or alias. Raise Denied with the nearest names if there is none."""
    spec = specs.get(ModelName(name))
    if spec is None:
        spec = next((spec for spec in specs.values() if name in spec.aliases), None)
    if spec is None:
        raise Denied(_unknown(name, specs))
    return spec


def ordered(order: LoadOrder, spec: ModelSpec, config: Config) -> ModelSpec:
    """The model under the settings that are asked for; itself if none are. Raise Denied, or
    ConfigInvalid for a profile that is not there.
    """
    if order.service is not None and order.service != spec.service:
        raise Denied(_wrong_service(order.service, spec, config))
    _refuse_settings(order, spec, config)
    serving = spec.serving
    if order.profile is not None:
        serving = _under_profile(serving, order.profile, config)
    if order.context_size is not None:
        serving = replace(serving, context_size=order.context_size)
    if order.gpu_layers is not None:
        serving = replace(serving, gpu_layers=_layers(order.gpu_layers))
    if order.cache_type is not None:
        kind = order.cache_type
        serving = replace(serving, cache_type_k=kind, cache_type_v=kind)
        _require_flash_attention(spec, serving)
    scales = _scales(order, spec)
    if order.profile is None and serving == spec.serving and scales == spec.lora_scales:
        return spec
    profile = order.profile or spec.profile
    return replace(spec, serving=serving, profile=profile, lora_scales=scales)


def _scales(order: LoadOrder, spec: ModelSpec) -> tuple[float, ...]:
    """Raise Denied where they are not one for each adapter."""
    scales = order.lora_scales
    if scales is None:
        return spec.lora_scales
    if len(scales) != len(spec.lora):
        detail = f"{spec.name} has {len(spec.lora)} LoRA adapters, and lora_scales {len(scales)}."
        remedy = "Give one for each, in the order of `lora` of the model, or leave it out."
        raise Denied(Refusal(code=RefusalCode.CONFLICT, detail=detail, remedy=remedy))
    return plain_scales(scales)


def on_hub(order: EstimateOrder, config: Config) -> ModelSpec | None:
    """What is asked about, where it is a file of a hub: as if it were a model already.

    Raise ConfigInvalid where no service could run it, or no file of a hub can be called so.
    """
    file = "" if order.file is None else str(order.file)
    try:
        if not on_a_hub(file):
            return None
    except Misplaced as error:
        raise ConfigInvalid((f"file: {error}",)) from error
    for name, entry in _reading_files(order, config).items():
        if launched_by_us(entry):
            return ModelSpec(
                name=ModelName(file[:NAME_CHARS_MAX]),
                service=name,
                footprint=UNKNOWN,
                hub=file,
                auto_download=True,  # so that the hub is asked; of what is not sized nothing comes
            )
    raise ConfigInvalid((_no_service(order),))


def to_estimate(
    order: EstimateOrder, specs: ModelSpecs, config: Config, sized: ModelSpec | None = None
) -> ModelSpec:
    """What is asked about: a model, a file that a service may read, or what a hub has told of one
    of its files (`sized`); under such settings.

    Raise Denied for a model that is not there, ConfigInvalid for a file that may not be read.
    """
    spec = sized or (_of_file(order, config) if order.model is None else named(order.model, specs))
    if spec.file is None:
        raise ConfigInvalid((f"model: {spec.name} has no file to estimate from",))
    if order.mmproj is not None and (order.model is not None or sized is not None):
        spec = replace(spec, mmproj=_located(order.mmproj, spec, config))
    serving = spec.serving
    if order.profile is not None:
        serving = _under_profile(serving, order.profile, config)
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


def _under_profile(serving: Serving, profile: str, config: Config) -> Serving:
    """Raise Denied for one that is not there."""
    if profile not in config.profiles:
        detail = f"{unknown_profile(profile, config.profiles)}."
        remedy = "Name one of them, or leave `profile` out."
        raise Denied(Refusal(code=RefusalCode.UNKNOWN_PROFILE, detail=detail, remedy=remedy))
    cores = physical_cores()
    return with_profile(serving, profile, physical_cores=cores, profiles=config.profiles)


def _located(mmproj: str, spec: ModelSpec, config: Config) -> str:
    try:
        service = config.service(spec.service)
        assert service is not None, "its model is in the catalogue"
        return locate(mmproj, roots_of(service))
    except Misplaced as error:
        raise ConfigInvalid((f"mmproj: {error}",)) from error


def _reading_files(order: EstimateOrder, config: Config) -> dict[ServiceName, ServiceEntry]:
    return {
        name: entry
        for name in config.services
        if order.service in (None, name)
        and (entry := config.service(name)) is not None
        and kind_of(entry).reads_files
    }


def _no_service(order: EstimateOrder) -> str:
    which = "" if order.service is None else f" {order.service!r}"
    return f"service: there is no service{which} whose engine reads files"


def _of_file(order: EstimateOrder, config: Config) -> ModelSpec:
    problem = _no_service(order)
    for name, entry in _reading_files(order, config).items():
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


def _refuse_settings(order: LoadOrder, spec: ModelSpec, config: Config) -> None:
    """Raise Denied if the order wants to change what is not ours to choose."""
    service = config.services.get(spec.service)
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


def _wrong_service(service: str, spec: ModelSpec, config: Config) -> Refusal:
    if service not in config.services:
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


def _unknown(name: str, specs: ModelSpecs) -> Refusal:
    names = [word for spec in specs.values() for word in (spec.name, *spec.aliases)]
    near = get_close_matches(name[:200], names, n=NAMES_SUGGESTED_MAX)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return Refusal(
        code=RefusalCode.UNKNOWN_MODEL,
        detail=f"There is no model {name[:200]!r} in the catalogue.",
        remedy=f"{meant}GET /models lists what there is.",
    )
