"""The table of engines, as the rest reads it."""

from dataclasses import fields
from pkgutil import resolve_name

import pytest

from orchestrator.config.engine_kind import FILE_KEYS, MODEL_KEYS, SERVICE_KEYS
from orchestrator.config.engines import KINDS, kind_of, those_with, unknown
from orchestrator.config.sections import ModelEntry, ServiceEntry

NAMES = sorted(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_engine_declares_is_there(name):
    kind = KINDS[name]
    assert kind_of(ServiceEntry(engine=name)) is kind
    assert kind.runtimes
    assert kind.about.endswith(".")
    assert kind.service_keys <= set(SERVICE_KEYS)
    assert kind.model_keys <= set(MODEL_KEYS)
    assert kind.needs <= kind.service_keys | kind.model_keys
    assert callable(resolve_name(kind.maker))


def test_keys_that_only_some_engines_know_are_keys():
    assert set(SERVICE_KEYS) <= {field.name for field in fields(ServiceEntry)}
    assert {*MODEL_KEYS, *FILE_KEYS} <= {field.name for field in fields(ModelEntry)}


def test_who_knows_a_key_is_said_in_words():
    assert those_with("binary") == "engine llama_cpp"
    assert those_with("health") == "engines command and container"
    assert those_with("env") == "engines command and llama_cpp"


def test_an_engine_that_there_is_not_is_named_with_those_that_there_are():
    assert unknown("fake") is None
    assert unknown("lama_cpp").startswith(
        '"lama_cpp" is no engine here; did you mean llama_cpp? There are llama_cpp, '
    )
    assert "is no engine here; there are llama_cpp, " in unknown("vllm")
