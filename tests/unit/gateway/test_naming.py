"""By which name a model is meant."""

from dataclasses import replace

import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.config.sections import GatewaySettings
from orchestrator.errors import Denied
from orchestrator.gateway.naming import KEPT_MAX, Makers, candidates
from tests.factories import spec
from tests.unit.access.keys.samples import key

BIG = replace(spec("big", gib=1), aliases=("large",))
SPECS = {each.name: each for each in (BIG, spec("small:latest", gib=1), spec("tiny", gib=1))}
SETTINGS = GatewaySettings(
    default_model="best",
    tasks={"quick_nlp": "tiny", "default": "large"},
    chains={"best": ("large", "tiny")},
)


def names(name, gateway=SETTINGS, specs=SPECS):
    return [each.name for each in candidates(name, gateway, specs)]


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("big", ["big"]),
        ("large", ["big"]),
        ("tiny:latest", ["tiny"]),
        ("small:latest", ["small:latest"]),
        ("best", ["big", "tiny"]),
        ("best:latest", ["big", "tiny"]),
        ("task:quick_nlp", ["tiny"]),
        ("task:quick_nlp:latest", ["tiny"]),
        ("task:whatever", ["big"]),
        (None, ["big", "tiny"]),
    ],
)
def test_a_name_leads_to_its_models(name, models):
    assert names(name) == models


def test_the_only_model_needs_no_name():
    only = {each.name: each for each in (spec("only", gib=1),)}
    assert names(None, GatewaySettings(), only) == ["only"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing", "no model 'nothing'"), ("task:x", "no task 'x'"), (None, "names no model")],
)
def test_what_leads_nowhere_is_refused(name, said):
    with pytest.raises(Denied, match=said) as refused:
        names(name, GatewaySettings())
    assert refused.value.refusal.code == "unknown_model"
    assert refused.value.refusal.remedy


def test_who_made_an_answer_is_remembered_of_the_newest():
    makers = Makers()
    for number in range(KEPT_MAX + 1):
        makers.note(f"resp_{number}", "a")
    assert makers.of("resp_0") is None
    assert makers.of(f"resp_{KEPT_MAX}") == "a"
    assert makers.of("unknown") is None


def test_a_conversation_may_name_its_model():
    makers = Makers()
    assert makers.of("chat-1::qwen") == "qwen"
    makers.note("chat-1::qwen", "phi")
    assert makers.of("chat-1::qwen") == "phi"


def test_what_was_made_for_a_key_is_for_no_other():
    makers = Makers()
    mine, other, boss = (
        Rights(caller=Caller(key=id_, via=Via.HTTP), key=key(scope, id=id_))
        for id_, scope in (
            ("mine1234", KeyScope.USE),
            ("other123", KeyScope.USE),
            ("boss1234", KeyScope.ADMIN),
        )
    )
    makers.note("resp_1", "a", mine)
    makers.note("chat-1::qwen", "phi", mine)
    for id_ in ("resp_1", "chat-1::qwen"):
        assert makers.is_anothers(id_, other)
        assert not any(makers.is_anothers(id_, rights) for rights in (mine, boss, EVERYTHING))
    assert not makers.is_anothers("unknown", other)
