"""When a running server is the one that is asked for."""

from dataclasses import replace

import pytest

from orchestrator.core.values.specs import FakeBehaviour, ServiceName, Serving
from tests.factories import spec

A = replace(spec("a", gib=8), file="/models/a.gguf")


@pytest.mark.parametrize(
    "changes",
    [
        {"service": ServiceName("other")},
        {"file": "/models/b.gguf"},
        {"mmproj": "/models/p.gguf"},
        {"lora": ("/models/l.gguf",)},
        {"lora": ("/models/l.gguf",), "lora_scales": (0.5,)},
        {"serving": Serving(slots=2)},
        {"fake": FakeBehaviour()},
        {"url": "http://comfyui:8188"},
        {"devices": ("g1",)},
    ],
)
def test_what_changes_the_start_is_another_launch(changes):
    assert not A.launches_like(replace(A, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 9},
        {"ttl_s": 5.0},
        {"load_s": 99.0},
        {"aliases": ("x",)},
        {"pinned": True},
        {"preload": True},
        {"footprint": spec("a", gib=9).footprint},
    ],
)
def test_what_only_the_scheduler_goes_by_is_the_same_launch(changes):
    assert A.launches_like(replace(A, **changes))


def test_another_scale_is_another_launch_and_none_is_one():
    adapted = replace(A, lora=("/x.gguf", "/y.gguf"))
    assert adapted.launches_like(replace(adapted, lora_scales=(1.0, 1.0)))
    assert not adapted.launches_like(replace(adapted, lora_scales=(1.0, 0.5)))


def test_room_is_a_model_of_no_service():
    assert replace(A, service=ServiceName("")).plain_room
    assert not A.plain_room


def test_a_file_of_the_hub_is_awaited_until_it_is_known():
    assert not A.awaits_file
    assert not replace(A, hub="org/repo:b.gguf").awaits_file
    assert replace(A, hub="org/repo", file=None).awaits_file
