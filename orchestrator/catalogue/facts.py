"""What the files of a model say of it, in words for lists. Blocking where files are read."""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalogue.sizing import Files
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, Serving
from orchestrator.gguf.file_types import file_type
from orchestrator.gguf.header import CHAT_TEMPLATE, Header, Value

COMPLETION, EMBEDDING, TOOLS, VISION, AUDIO, THINKING, INSERT = (
    "completion",
    "embedding",
    "tools",
    "vision",
    "audio",
    "thinking",
    "insert",
)
NUMBERS_SHOWN_MAX = 5  # of a list in the header: one number per layer says nothing to a reader

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOOLS = re.compile(r"\btools\b", re.ASCII)
# What templates of models that think before they answer have to do with it.
_THINKING = re.compile(r"enable_thinking|reasoning_effort|reasoning_content|</?think>")
_FILL_IN = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
_TEXTS_APART = (CHAT_TEMPLATE, "general.name")  # shown elsewhere, or by us
_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Where its files are not ours to read, what is asked of it is not judged: `known` is false."""

    known: bool = False
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    size_bytes: int = 0
    digest: str
    modified_s: float | None = None
    capabilities: tuple[str, ...] = (COMPLETION,)
    trained_context: int | None = None
    template: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def details(self) -> dict[str, object]:
        return {
            "parent_model": "",
            "format": "gguf" if self.known else "",
            "family": self.family,
            "families": [self.family] if self.family else None,
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }

    def can(self, capability: str) -> bool:
        """False only where that is certain."""
        return not self.known or capability in self.capabilities


class FactSheets:
    """Told once for each model, until it or its files change."""

    def __init__(self, files: Callable[[ModelSpec], Files | None]) -> None:
        self._files = files
        self._kept: dict[ModelName, tuple[ModelSpec, Files | None, ModelFacts]] = {}

    def of(self, spec: ModelSpec) -> ModelFacts:
        files = self._files(spec)
        kept = self._kept.get(spec.name)
        if kept is not None and kept[0] is spec and kept[1] == files:
            return kept[2]
        facts = facts_of(spec, files)
        self._kept[spec.name] = spec, files, facts
        return facts

    def of_all(self, specs: ModelSpecs) -> dict[ModelName, ModelFacts]:
        for gone in self._kept.keys() - specs.keys():
            self._kept.pop(gone, None)
        return {name: self.of(spec) for name, spec in specs.items()}


def facts_of(spec: ModelSpec, files: Files | None) -> ModelFacts:
    if files is None:
        return ModelFacts(
            digest=_digest(spec.service, spec.name, spec.hub or spec.url or ""),
            capabilities=(EMBEDDING,) if spec.serving.embeddings else (COMPLETION,),
            size_bytes=0 if spec.footprint.unknown else spec.footprint.total_bytes,
        )
    header = files.model
    trained = _trained_context(header)
    return ModelFacts(
        known=True,
        family=header.architecture,
        parameter_size=in_words(sum(math.prod(t.dimensions) for t in header.tensors)),
        quantization=file_type(header),
        size_bytes=header.file_bytes + (files.projector.file_bytes if files.projector else 0),
        digest=_digest_of_files(header),
        modified_s=max(part.modified_ns for part in header.parts) / 1e9,
        capabilities=tuple(_capabilities(spec.serving, files, _template(header))),
        trained_context=trained,
        template=_template(header),
        info=_info(header, spec, trained),
    )


def in_words(count: int) -> str:
    """`135M`, `8.0B`, as model names have it."""
    for step, unit in _STEPS:
        if count >= step:
            number = count / step
            return f"{number:.1f}{unit}" if number < 100 and unit in "BT" else f"{number:.0f}{unit}"
    return str(count)


def _capabilities(serving: Serving, files: Files, template: str) -> Iterator[str]:
    header = files.model
    if serving.embeddings:  # its server answers nothing else
        yield EMBEDDING
        return
    yield COMPLETION
    if serving.jinja and (_TOOLS.search(template) or _has_template_for_tools(header)):
        yield TOOLS
    if any(key in header.metadata for key in _FILL_IN):
        yield INSERT
    if files.projector is not None:
        sees = files.projector.metadata.get("clip.has_vision_encoder", True)
        hears = files.projector.metadata.get("clip.has_audio_encoder", False)
        yield from (VISION,) if sees else ()
        yield from (AUDIO,) if hears else ()
    if _THINKING.search(template):
        yield THINKING


def _has_template_for_tools(header: Header) -> bool:
    return f"{CHAT_TEMPLATE}.tool_use" in header.metadata


def _template(header: Header) -> str:
    return header.text(CHAT_TEMPLATE)


def _trained_context(header: Header) -> int | None:
    said = header.metadata.get(f"{header.architecture}.context_length")
    return said if isinstance(said, int) and said > 0 else None


def _info(header: Header, spec: ModelSpec, trained: int | None) -> dict[str, Any]:
    """The header's own keys. The context is what a conversation is served with: VS Code fills it,
    and says no size with its requests; Zed sends it back as `num_ctx`.
    """
    shown = {
        key: shown
        for key, value in header.metadata.items()
        if key not in _TEXTS_APART and (shown := _shown(value)) is not None
    }
    served = spec.serving.context_size if spec.settings_ours else trained
    if trained is not None and served is not None:
        shown[f"{header.architecture}.context_length"] = min(trained, served)
    return {
        "general.architecture": header.architecture,
        **shown,
        "general.basename": spec.name,  # what VS Code lists it as
        "general.parameter_count": sum(math.prod(t.dimensions) for t in header.tensors),
    }


def _shown(value: Value) -> object | None:
    match value:
        case bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case tuple() if len(value) <= NUMBERS_SHOWN_MAX and all(map(math.isfinite, value)):
            return list(value)
    return None


def _digest_of_files(header: Header) -> str:
    """A hub's cache names files by their content. Others are told by name, size and age: nobody
    reads gigabytes for a list, and it changes when they do.
    """
    first = header.parts[0].path.resolve()
    if _SHA256.fullmatch(first.name):
        return first.name
    return _digest(*(f"{p.path}:{p.size_bytes}:{p.modified_ns}" for p in header.parts))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "backslashreplace")).hexdigest()
