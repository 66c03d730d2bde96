"""The shapes of what the daemon says of its own health; `shapes.py` tells what holds for all."""

from typing import Literal

from typing_extensions import TypedDict


class HealthAnswer(TypedDict):
    status: Literal["healthy"]
    service: Literal["model-orchestrator"]


class Ready(TypedDict):
    status: Literal["ready"]
    reasons: list[str]  # what is amiss all the same, such as one of several runtimes
