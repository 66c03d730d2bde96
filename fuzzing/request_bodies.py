"""A body of a request: an order, or a error that can be sent."""

import json
import math
from functools import cache
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from fuzzing.configuration import ENVIRONMENT, SMALL
from fuzzing.mutations import Target
from fuzzing.scratch import scratch
from orchestrator.config.bodies import parse_model
from orchestrator.config.loading import Config, load_config
from orchestrator.errors import ConfigInvalid
from orchestrator.orders import (
    GPU_LAYERS_MAX,
    EstimateOrder,
    FakeDeviceOrder,
    LoadOrder,
    RenewOrder,
    RoomOrder,
    UnloadOrder,
    example_of,
)
from orchestrator.web.rest.mistakes import error_of_config, error_of_validation
from orchestrator.web.rest.parsing import parse
from orchestrator.web.wire.error_answers import ErrorAnswer, encode

ORDERS: tuple[type[Any], ...] = (
    LoadOrder,
    UnloadOrder,
    EstimateOrder,
    RoomOrder,
    RenewOrder,
    FakeDeviceOrder,
)
_READ = {order: TypeAdapter(order) for order in ORDERS}


def check(content: bytes) -> None:
    try:
        value = parse(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return
    for order in ORDERS:
        _check_body(order, value)
    if isinstance(value, dict):
        _check_model(value)


def _check_body(order: type[Any], value: object) -> None:
    try:
        _check_order(_READ[order].validate_python(value))
    except ValidationError as refused:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in refused.errors()]
        _check_error(error_of_validation(RequestValidationError(errors), {"type": "http"}))


def _check_order(order: object) -> None:
    match order:
        case LoadOrder(gpu_layers=layers) | EstimateOrder(gpu_layers=layers):
            assert layers is None or layers == "all" or 0 <= layers < GPU_LAYERS_MAX
        case UnloadOrder(wait_s=wait_s):
            assert math.isfinite(wait_s)
        case RoomOrder(vram_bytes=vram_bytes):
            assert vram_bytes > 0
        case RenewOrder(lease_s=lease_s):
            assert lease_s > 0
        case dict():
            assert order.keys() <= {"foreign_mb", "fault"}


def _check_model(value: dict[str, object]) -> None:
    try:
        spec = parse_model(_config(), "new", value)
    except ConfigInvalid as refused:
        _check_error(error_of_config(refused))
        return
    assert spec.service in _config().services
    assert spec.footprint.device_bytes >= 0


def _check_error(error: ErrorAnswer) -> None:
    assert error.detail, "refused without a word"
    told = json.loads(encode({"detail": error.detail, **error.members}))
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
        *(json.dumps(example_of(order)).encode() for order in ORDERS),
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
