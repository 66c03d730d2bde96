"""From what the operator wrote about models to the specs that are scheduled."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace

from orchestrator.config.adapters import adapter_mistakes, file_of, scales_of
from orchestrator.config.cores import physical_cores
from orchestrator.config.engine_kind import FILE_KEYS, MODEL_KEYS, EngineKind
from orchestrator.config.engines import kind_of, those_with
from orchestrator.config.expected_section import expected_of
from orchestrator.config.llama_flags import extra_mistakes, moving
from orchestrator.config.paths import Misplaced, locate, on_a_hub
from orchestrator.config.profiles import PROFILES, Profiles, unknown_profile, with_profile
from orchestrator.config.programs import program_mistakes, program_of
from orchestrator.config.scalars import SECONDS_MAX
from orchestrator.config.sections import CacheType, ModelEntry, RuntimeName, ServiceEntry
from orchestrator.config.services import (
    launched_by_us,
    launches_files,
    roots_of,
    settings_home,
    tells_use,
)
from orchestrator.config.validation import shown
from orchestrator.config.yaml_lines import Mistake
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN, Footprint
from orchestrator.core.values.specs import FakeBehaviour, ModelName, ModelSpec, ServiceName, Serving
from orchestrator.core.values.vram import MiB
from orchestrator.errors import Unpredictable

# From a spec with the declared footprint, or UNKNOWN, to the footprint that is believed; None if
# it cannot be estimated. Raises Unpredictable where a file is at fault.
Estimate = Callable[[ModelSpec], Footprint | None]

# A name is one segment of a URL, part of a file name and an argument: no slash, no space, no dash
# in front. `..` would climb.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
# What follows /models/ in the API already.
RESERVED_NAMES = frozenset({"status", "load", "unload", "plan", "estimate", "sse"})

PLAIN_CACHES = frozenset({CacheType.F32, CacheType.F16, CacheType.BF16})
# What a server is started with. One that is not started by us has these settings elsewhere.
_SETTINGS = (
    *("profile", "context_size", "slots", "unified_cache", "gpu_layers", "cache_type_k"),
    *("cache_type_v", "batch", "ubatch", "threads", "flash_attention", "load_mode"),
    *("host_cache_mb", "context_checkpoints", "jinja", "embeddings", "max_tokens", "degrade"),
    "extra_args",
)
_DEFAULTS = {field.name: field.default for field in fields(ModelEntry)}
_ENGINE_REMEDY = (
    "Install or mend the package that brings the engine, or name another engine, and start the "
    "daemon again."
)
LOAD_S_DEFAULT = 10.0  # until it has been measured


def declared_only(spec: ModelSpec) -> Footprint | None:  # noqa: ARG001 - an Estimate
    """Believes no file: the footprint is what was declared."""
    return None


def name_mistake(name: str) -> str | None:
    """Why it is no name for a model, an alias or a service; None if it is one."""
    if NAME.fullmatch(name) and ".." not in name:
        if name in RESERVED_NAMES:
            return f"cannot be a name: /models/{name} is something else in the API"
        return None
    return (
        f"{shown(name)} is no name: 1 to 128 letters, digits and . _ : @ -, "
        "beginning with a letter or digit, without `..`"
    )


def model_mistakes(entry: ModelEntry, service: ServiceEntry) -> Iterator[Mistake]:
    """What does not go together in one model, files and footprint apart."""
    kind = kind_of(service)
    if entry.file is None and launches_files(service):
        yield Mistake(("file",), f"is required: engine {kind.name} loads a GGUF file")
    yield from _key_mistakes(entry, kind, ours=launched_by_us(service))
    yield from program_mistakes(entry, service)
    if service.runtime is RuntimeName.EXTERNAL:
        if entry.url is None and service.url is None:
            yield Mistake(("url",), "is required here or in the service: the server is not ours")
    elif entry.url is not None:
        yield Mistake(("url",), "is only for models of a service with runtime external")
    yield from _setting_mistakes(entry, settings_home(service))
    yield from extra_mistakes(entry.extra_args)
    if entry.cache_type_v not in PLAIN_CACHES and not entry.flash_attention:
        yield Mistake(("cache_type_v",), f"{entry.cache_type_v} needs flash_attention: true")
    if entry.batch is not None and entry.ubatch is not None and entry.ubatch > entry.batch:
        yield Mistake(("ubatch",), f"must be at most batch, which is {entry.batch}")
    if entry.degrade and not (entry.file and launched_by_us(service)):
        reason = "needs a GGUF file whose server we start: what may be given up are its settings"
        yield Mistake(("degrade",), reason)
    if entry.keep_loaded and entry.ttl_seconds is not None:
        reason = "would have no effect beside keep_loaded: it does not leave for being idle"
        yield Mistake(("ttl_seconds",), reason)
    yield from _alias_mistakes(entry.aliases)


def _key_mistakes(entry: ModelEntry, kind: EngineKind, *, ours: bool) -> Iterator[Mistake]:
    """Of the keys that only some engines know. `ours`: whether we choose the server's settings."""
    for key in () if kind.reads_files else FILE_KEYS:
        if getattr(entry, key):
            yield Mistake((key,), f"is not read by engine {kind.name}: remove it")
    for key in MODEL_KEYS:
        if not getattr(entry, key) or key in kind.model_keys:
            continue
        if key != "extra_args":
            yield Mistake((key,), f"is only for models of a service with {those_with(key)}")
        elif ours:  # else it is a setting that would change nothing
            yield Mistake((key,), f"is only for {those_with(key)}, whose server takes them")
    if "fake" in kind.model_keys:
        yield from _fake_mistakes(entry.fake or FakeBehaviour())


def _alias_mistakes(aliases: tuple[str, ...]) -> Iterator[Mistake]:
    for index, alias in enumerate(aliases):
        if (sentence := name_mistake(alias)) is not None:
            yield Mistake(("aliases", index), sentence)


def _setting_mistakes(entry: ModelEntry, home: str | None) -> Iterator[Mistake]:
    for key in _SETTINGS if home is not None else ():
        if getattr(entry, key) != _DEFAULTS[key]:
            yield Mistake((key,), f"would change nothing: set it where {home}")


def _fake_mistakes(fake: FakeBehaviour) -> Iterator[Mistake]:
    for key in ("load_s", "stop_s", "dies_after_s", "peak_mb"):
        number = getattr(fake, key)
        if number is not None and not 0 <= number <= SECONDS_MAX:
            yield Mistake(("fake", key), f"must be 0 to {SECONDS_MAX:g}, not {shown(number)}")
    if fake.tokens_per_s <= 0:
        sentence = f"must be more than 0, not {shown(fake.tokens_per_s)}"
        yield Mistake(("fake", "tokens_per_s"), sentence)


@dataclass(frozen=True, slots=True)
class Built:
    draft: ModelSpec  # without what is wrong
    mistakes: tuple[Mistake, ...]
    only_of_files: bool  # of what lies where it points: that may be gone, and back, by itself

    @property
    def spec(self) -> ModelSpec | None:
        """None: there are mistakes."""
        return None if self.mistakes else self.draft


def build_spec(
    name: str,
    entry: ModelEntry,
    service: ServiceEntry,
    estimate: Estimate,
    profiles: Profiles = PROFILES,
) -> Built:
    """The spec of one model, or everything that keeps it from being one."""
    unknown = [
        Mistake(("profile",), unknown_profile(name, profiles))
        for name in (entry.profile,)
        if name is not None and name not in profiles
    ]
    if unknown:
        entry = replace(entry, profile=None)
    if (problem := kind_of(service).problem) is not None:
        draft = replace(
            _draft(name, entry, service, profiles), footprint=_declared(entry) or UNKNOWN
        )
        failure = Failure(
            reason=FailureReason.CONFIGURATION, detail=f"{problem}.", remedy=_ENGINE_REMEDY
        )
        return Built(replace(draft, failed=failure), (), only_of_files=True)
    mistakes = [*unknown, *model_mistakes(entry, service)]
    located, of_files = _files(entry, service, mistakes)
    if entry.auto_download and located.hub is None:
        sentence = "needs a file that comes from a hub: file: ORG/REPO:FILE.gguf"
        mistakes.append(Mistake(("auto_download",), sentence))
    if located.hub is not None and not launched_by_us(service):
        mistakes.append(Mistake(("file",), "comes from a hub: only for servers that we start"))
    declared = _declared(entry)
    draft = replace(
        _draft(name, entry, service, profiles),
        file=located.file,
        hub=located.hub,
        supplied=located.hub is not None or service.auto_pull,
        mmproj=located.mmproj,
        lora=located.lora,
        lora_scales=located.lora_scales,
        footprint=declared or UNKNOWN,
    )
    footprint = declared
    if declared is not None and declared.total_bytes == 0:
        mistakes.append(Mistake(("vram_mb",), "must be more than 0 if host_mb is not given"))
    elif declared is None and (flag := moving(entry.extra_args)) is not None:
        sentence = f"is required with {flag}: what the model then takes, its file does not tell"
        mistakes.append(Mistake(("vram_mb",), sentence))
    elif located.hub is not None:
        footprint = declared or UNKNOWN  # until the hub is asked about the file
    elif not of_files:
        try:
            footprint = _believed(draft, declared, estimate)
        except Unpredictable as error:
            of_files.append(Mistake(error.where, str(error)))
        else:
            if footprint is None:
                sentence = "is required: what the model takes cannot be told from its file"
                mistakes.append(Mistake(("vram_mb",), sentence))
    draft = replace(draft, footprint=footprint or UNKNOWN)
    return Built(draft, (*mistakes, *of_files), only_of_files=not mistakes)


def failed_for(
    spec: ModelSpec, sentences: Iterable[str], reason: FailureReason, remedy: str
) -> ModelSpec:
    """The model as it stands in the catalogue where it cannot be loaded as it is written."""
    again = "It is looked at again whenever it is asked for."
    detail = f"{'; '.join(sentences)}."
    failure = Failure(reason=reason, detail=detail, remedy=f"{remedy} {again}")
    return replace(spec, failed=failure)


def _believed(draft: ModelSpec, declared: Footprint | None, estimate: Estimate) -> Footprint | None:
    """The file's footprint goes before the declared one, which stands if it cannot be read.

    None where there is neither. Raise Unpredictable if the file is at fault.
    """
    try:
        footprint = estimate(draft) if draft.file is not None else None
    except Unpredictable:
        if declared is None:
            raise
        return declared
    return footprint or declared


def _declared(entry: ModelEntry) -> Footprint | None:
    if entry.vram_mb is None:
        return None
    return Footprint(device_bytes=entry.vram_mb * MiB, host_bytes=(entry.host_mb or 0) * MiB)


def _draft(name: str, entry: ModelEntry, service: ServiceEntry, profiles: Profiles) -> ModelSpec:
    """Everything but the files and the footprint."""
    is_fake = "fake" in kind_of(service).model_keys
    fake = (entry.fake or FakeBehaviour()) if is_fake else None
    load_s = entry.load_seconds or (fake.load_s if fake is not None else None)
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName(entry.service),
        footprint=UNKNOWN,
        priority=entry.priority,
        ttl_s=entry.ttl_seconds,
        devices=entry.devices,
        span=entry.span,
        load_s=LOAD_S_DEFAULT if load_s is None else load_s,
        load_known=load_s is not None,
        serving=serving_of(entry, profiles),
        auto_download=entry.auto_download,
        settings_ours=launched_by_us(service),
        profile=entry.profile,
        fake=fake,
        program=program_of(entry, service),
        tells_use=tells_use(service),
        url=entry.url or service.url,
        aliases=entry.aliases,
        concurrency=entry.concurrency,
        preload=entry.preload,
        keep_loaded=entry.keep_loaded,
        pinned=entry.pinned,
        degrade=entry.degrade,
        expected=expected_of(entry.expected),
    )


def serving_of(entry: ModelEntry, profiles: Profiles = PROFILES) -> Serving:
    """Defaults, then the profile over them, then what was written for this model."""
    serving = Serving(
        slots=entry.slots,
        unified_cache=entry.unified_cache,
        gpu_layers=entry.gpu_layers,
        cache_type_k=entry.cache_type_k.value,
        cache_type_v=entry.cache_type_v.value,
        flash_attention=entry.flash_attention,
        load_mode=None if entry.load_mode is None else entry.load_mode.value,
        host_cache_mb=entry.host_cache_mb,
        context_checkpoints=entry.context_checkpoints,
        embeddings=entry.embeddings,
        jinja=entry.jinja,
        extra_args=entry.extra_args,
    )
    if entry.profile is not None:
        serving = with_profile(
            serving, entry.profile, physical_cores=physical_cores(), profiles=profiles
        )
    batch = entry.batch or serving.batch
    return replace(
        serving,
        context_size=entry.context_size or serving.context_size,
        batch=batch,
        ubatch=entry.ubatch or min(serving.ubatch, batch),
        threads=entry.threads or serving.threads,
        max_tokens=entry.max_tokens or serving.max_tokens,
    )


@dataclass(frozen=True, slots=True)
class _Located:
    file: str | None = None
    hub: str | None = None  # where the file comes from, if from there
    mmproj: str | None = None
    lora: tuple[str, ...] = ()
    lora_scales: tuple[float, ...] = ()


def _files(
    entry: ModelEntry, service: ServiceEntry, mistakes: list[Mistake]
) -> tuple[_Located, list[Mistake]]:
    """Where they lie, and which may not be used. What is written wrong joins the `mistakes`."""
    misplaced: list[Mistake] = []
    if not kind_of(service).reads_files:  # what files it names is a mistake already
        return _Located(), misplaced
    roots = roots_of(service)

    def find(file: str | None, *where: str | int) -> str | None:
        if file is None:
            return None
        try:
            return locate(file, roots)
        except Misplaced as error:
            misplaced.append(Mistake(where, str(error)))
            return None

    adapters = [find(file_of(each), "lora", index) for index, each in enumerate(entry.lora)]
    misplaced += adapter_mistakes(adapters)
    hub = _hub(entry.file, mistakes, brought=entry.auto_download)
    located = _Located(
        lora=tuple(path for path in adapters if path is not None),
        lora_scales=scales_of(entry.lora) if None not in adapters else (),
        file=None if hub else find(entry.file, "file"),
        hub=hub,
        mmproj=find(entry.mmproj, "mmproj"),
    )
    return located, misplaced


def _hub(file: str | None, mistakes: list[Mistake], *, brought: bool) -> str | None:
    try:
        return file if file is not None and on_a_hub(file, brought=brought) else None
    except Misplaced as error:
        mistakes.append(Mistake(("file",), str(error)))
        return file
