from dataclasses import replace

import pytest

from orchestrator.catalogue.facts import ModelFacts
from orchestrator.core.values.specs import Serving
from orchestrator.gateway.ollama.fitness import beyond, larger_context
from orchestrator.gateway.ollama.options import AnswerSettings
from orchestrator.gateway.ollama.translation import CHAT, Translated
from tests.unit.web.samples import spec

MODEL = spec("a")
PLAIN = ModelFacts(known=True, digest="", trained_context=8192)
ABLE = replace(PLAIN, capabilities=("completion", "tools", "vision", "thinking"))
UNKNOWN = ModelFacts(digest="")


def asked(context_size=None, **wants):
    settings = AnswerSettings(parameters={}, context_size=context_size)
    return Translated(path=CHAT, kind=CHAT, body={}, settings=settings, kept_s=None, **wants)


@pytest.mark.parametrize(
    ("wants", "says"),
    [
        ({"pictures": True}, "sees no pictures"),
        ({"tools": True}, "does not support tools"),
        ({"thinks": True}, "does not support thinking"),
        ({"context_size": 8193}, "was made for 8192 tokens, and num_ctx is 8193"),
    ],
)
def test_what_it_cannot_do_is_said(wants, says):
    refused = beyond(MODEL, PLAIN, asked(**wants))
    assert says in refused.detail
    assert refused.remedy
    assert refused.status == 400
    assert asked(**wants).demands
    assert beyond(MODEL, UNKNOWN, asked(**wants)) is None, "that is its server's to say"


def test_what_it_can_do_is_not():
    everything = asked(8192, pictures=True, tools=True, thinks=True)
    assert beyond(MODEL, ABLE, everything) is None
    assert beyond(MODEL, PLAIN, asked()) is None
    assert not asked().demands
    elsewhere = replace(MODEL, settings_ours=False)
    assert beyond(elsewhere, PLAIN, asked(99999)) is None, "it changes nothing there"


@pytest.mark.parametrize(
    ("said", "loaded_with"), [(None, None), (2048, None), (4096, None), (8192, 8192)]
)
def test_only_a_larger_context_is_a_reason_to_load_it_so(said, loaded_with):
    model = replace(MODEL, serving=Serving(context_size=4096))
    assert larger_context(model, said) == loaded_with
    assert larger_context(replace(model, settings_ours=False), said) is None
