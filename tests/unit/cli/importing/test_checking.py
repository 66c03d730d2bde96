"""A draft is made right: what would be refused is left out."""

from orchestrator.cli.importing.checking import made_right
from orchestrator.cli.importing.drafts import Draft, DraftModel


def draft_with(**models):
    draft = Draft(head=())
    draft.services["s"] = {"engine": "command"}
    draft.services["t"] = {"engine": "command", "health": "/t"}
    for name, keys in models.items():
        draft.models[name] = DraftModel(keys)
    return draft


RIGHT = {"service": "s", "command": ["run", "${PORT}"], "vram_mb": 1}


def test_a_draft_that_is_right_stays_but_for_services_of_nobody():
    draft = draft_with(a=RIGHT)
    made_right(draft)
    assert list(draft.models) == ["a"]
    assert draft.notes == []


def test_a_model_that_is_wrong_is_left_out_with_its_service_and_its_place_in_chains():
    draft = draft_with(a=RIGHT, b={**RIGHT, "service": "t", "command": ["run"]})
    draft.chains = {"both": ["a", "b"], "one": ["b"]}
    made_right(draft)
    assert list(draft.models) == ["a"]
    assert list(draft.services) == ["s"]
    assert draft.chains == {"both": ["a"]}
    assert str(draft.notes[0]).startswith("b: is left out: command: must hold ${PORT}")


def test_what_is_of_no_model_is_said():
    draft = draft_with(a=RIGHT)
    draft.sections["stat_dir"] = "./state"
    made_right(draft)
    assert "stat_dir" in str(draft.notes[0])
