"""`expected` of a model: how fast it is when all is well."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.config.scalars import STRICT, PositiveSeconds
from orchestrator.core.values.speeds import Expected

Rate = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Percent = Annotated[str, Field(pattern=r"^(100|[1-9]?[0-9](\.[0-9]{1,3})?) ?%$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedSpeeds:
    """What `orchestrator bench` measures of the model where all is well. What is worse by more than
    the bound is an event, a figure with an alert, and a row of the status.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    generation_tokens_per_second: Rate | None = None
    """While it writes one answer; also taken from requests that had the model to themselves."""
    prompt_tokens_per_second: Rate | None = None
    """While it reads a prompt that is new to it."""
    first_token_seconds: PositiveSeconds | None = None
    """From a request to the first token of its answer."""
    load_seconds: PositiveSeconds | None = None
    """Of a cold load."""
    bound: Percent = "10%"
    """By how much it may be worse: 10%."""


def expected_of(said: ExpectedSpeeds | None) -> Expected | None:
    if said is None:
        return None
    return Expected(
        generation_tokens_per_second=said.generation_tokens_per_second,
        prompt_tokens_per_second=said.prompt_tokens_per_second,
        first_token_seconds=said.first_token_seconds,
        load_seconds=said.load_seconds,
        bound=float(said.bound.rstrip(" %")) / 100,
    )
