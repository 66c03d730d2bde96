"""A body of a request: an order, or a denial that can be sent."""

import json
import math
from functools import cache

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from fuzzing.configuration import ENVIRONMENT, SMALL
from fuzzing.mutations import Target
from fuzzing.scratch import scratch
from orchestrator.config import Config, load_config, parse_model
from orchestrator.errors import ConfigInvalid
from orchestrator.orders import Layers
from orchestrator.web.rest.bodies import (
    GPU_LAYERS_MAX,
    EstimateBody,
    FakeBody,
    LoadBody,
    RenewBody,
    RoomBody,
    UnloadBody,
    WriteBody,
)
from orchestrator.web.rest.mistakes import denial_of_config, denial_of_validation
from orchestrator.web.rest.parsing import parse
from orchestrator.web.wire.denials import Denial, encode

BODIES: tuple[type[WriteBody], ...] = (
    LoadBody,
    UnloadBody,
    EstimateBody,
    RoomBody,
    RenewBody,
    FakeBody,
)


def check(content: bytes) -> None:
    try:
        value = parse(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return
    for body in BODIES:
        _check_body(body, value)
    if isinstance(value, dict):
        _check_model(value)


def _check_body(body: type[WriteBody], value: object) -> None:
    try:
        _check_order(body.model_validate(value))
    except ValidationError as refused:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in refused.errors()]
        _check_denial(denial_of_validation(RequestValidationError(errors), {"type": "http"}))


def _check_order(read: WriteBody) -> None:
    match read:
        case LoadBody() | EstimateBody():
            assert _possible(read.order().gpu_layers)
        case UnloadBody():
            assert math.isfinite(read.order().wait_s)
        case RoomBody():
            assert read.order().vram_bytes > 0
        case FakeBody():
            assert read.changes().keys() <= {"foreign_bytes", "fault"}


def _possible(layers: Layers | None) -> bool:
    return layers is None or layers == "all" or 0 <= layers < GPU_LAYERS_MAX


def _check_model(value: dict[str, object]) -> None:
    try:
        spec = parse_model(_config(), "new", value)
    except ConfigInvalid as refused:
        _check_denial(denial_of_config(refused))
        return
    assert spec.service in _config().services
    assert spec.footprint.device_bytes >= 0


def _check_denial(denial: Denial) -> None:
    assert denial.detail, "refused without a word"
    told = json.loads(encode({"detail": denial.detail, **denial.members}))
    assert told["mistakes"]


@cache
def _config() -> Config:
    path = scratch() / "small.yaml"
    path.write_bytes(SMALL)
    return load_config(path, environ=ENVIRONMENT)


_MODEL = {"service": "rehearsal", "vram_mb": "6000", "aliases": ["x"], "fake": {"load_s": 1}}
_FILE = {"service": "files", "file": "a.gguf", "vram_mb": 1, "slots": 2, "tensor_split": [1, 2]}
TARGET = Target(
    check,
    seeds=(
        *(json.dumps(body.example()).encode() for body in BODIES),
        json.dumps(_MODEL).encode(),
        json.dumps(_FILE).encode(),
        b'{"model": "a", "wait": "true", "gpu_layers": "all", "context_size": null, "pin": false}',
        b'{"model": "a", "wait": 1e400, "priority": -1, "cache_type": "q8_0", "profile": "fast"}',
        b"[]",
    ),
    words=(
        b'"\\ud800"',
        b"NaN",
        b"-0",
        b"1E308",
        b"9" * 400,
        b"[" * 40,
        b'{"":',
        b"null",
        b"true",
        b'"model":',
        b'"file": "package:os/x.gguf",',
        b'"lease_seconds": 5,',
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
)
