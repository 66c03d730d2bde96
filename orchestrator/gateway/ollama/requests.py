"""The bodies of Ollama's API, read as leniently: null is not said, unknown fields are ignored."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from orchestrator.gateway.members import NotAnObject, check_parts
from orchestrator.gateway.ollama.keep_alive import idle_s
from orchestrator.orders import NAME_CHARS_MAX
from orchestrator.web.rest.parsing import parse
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip

DEPTH_MAX = 128  # of a tool's schema, which nests two or three levels for each of its objects
MISTAKES_MAX = 5  # of a body, told at once
TOP_LOGPROBS_MAX = 20
_LENIENT = ConfigDict(extra="ignore", frozen=True, strict=False)

Json = Mapping[str, Any]
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]
Think = bool | str | None  # "low", "medium" or "high"


def _kept(said: object) -> float | None:
    if said is None or isinstance(said, int | float | str):
        return None if said is None else idle_s(said)
    raise ValueError("should be seconds or a duration")


# Idle seconds after which the model may leave; None: not said, as it is configured.
KeepAlive = Annotated[float | None, BeforeValidator(_kept)]
Schema = Json | str | None


@dataclass(config=_LENIENT, kw_only=True)
class CalledFunction:
    name: str
    arguments: Json | str | None = None


@dataclass(config=_LENIENT, kw_only=True)
class CalledTool:
    function: CalledFunction
    id: str | None = None


@dataclass(config=_LENIENT, kw_only=True)
class ChatMessage:
    role: str
    content: str | None = None
    thinking: str | None = None
    images: tuple[str, ...] | None = None
    tool_calls: tuple[CalledTool, ...] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


@dataclass(config=_LENIENT, kw_only=True)
class OllamaRequest:
    """What all of them may say."""

    model: Name = ""
    name: Name | None = None  # what `model` was called in its first year
    stream: bool | None = None
    options: Json | None = None
    keep_alive: KeepAlive = None

    @property
    def called(self) -> str:
        """The model. Raise Answered if none is named."""
        if called := self.model or self.name:
            return called
        raise Answered(invalid("model is required.", 'Send {"model": "NAME"}; GET /api/tags.'))

    @property
    def streams(self) -> bool:
        """Ollama streams unless it is told not to."""
        return self.stream is not False


@dataclass(config=_LENIENT, kw_only=True)
class ChatWanted(OllamaRequest):
    messages: tuple[ChatMessage, ...] | None = None
    tools: tuple[Json, ...] | None = None
    format: Schema = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS_MAX)] | None = None


@dataclass(config=_LENIENT, kw_only=True)
class TextWanted(OllamaRequest):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: tuple[int, ...] | None = None
    raw: bool | None = None
    images: tuple[str, ...] | None = None
    format: Schema = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS_MAX)] | None = None


@dataclass(config=_LENIENT, kw_only=True)
class VectorsWanted(OllamaRequest):
    input: str | tuple[str, ...] | None = None
    truncate: bool | None = None
    dimensions: Annotated[int, Field(ge=0)] | None = None


@dataclass(config=_LENIENT, kw_only=True)
class VectorWanted(OllamaRequest):
    prompt: str | None = None


@dataclass(config=_LENIENT, kw_only=True)
class ModelWanted(OllamaRequest):
    """What /api/show, /api/pull and /api/delete say."""


Wanted = TypeVar("Wanted", bound=OllamaRequest)


def read(kind: type[Wanted], body: bytes) -> Wanted:
    """Raise Answered with every mistake in it."""
    try:
        check_parts(body)
        value = parse(body.decode("utf-8-sig"), depth_max=DEPTH_MAX)
        return _reader(kind).validate_python(value)  # type: ignore[arg-type, no-any-return]
    except UnicodeDecodeError as error:
        raise Answered(invalid("The body is not UTF-8.")) from error
    except ValidationError as error:
        raise Answered(invalid(_sentences(error))) from error
    except NotAnObject as error:
        raise Answered(invalid(f"The body is no JSON object: {error}.")) from error
    except ValueError as error:
        raise Answered(invalid(f"The body is not JSON: {error}.")) from error


def invalid(detail: str, remedy: str = "") -> ErrorAnswer:
    return ErrorAnswer(code=WebCode.INVALID, detail=detail, remedy=remedy)


@cache
def _reader(kind: type[OllamaRequest]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _sentences(error: ValidationError) -> str:
    found: dict[str, str] = {}
    for mistake in error.errors(include_url=False, include_input=False)[:MISTAKES_MAX]:
        place = ".".join(clip(str(part)) for part in mistake["loc"])
        if not place:
            return "The body is not a JSON object."
        message = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
        found.setdefault(place, "is required" if mistake["type"] == "missing" else message)
    return " ".join(f"{place} {message}." for place, message in found.items())
