"""A configuration of ours as it is put together."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.importing.drafts import (
    Draft,
    DraftModel,
    Note,
    named,
    numbered,
    roots_of,
    scalar,
)
from orchestrator.config.models import name_mistake


def test_it_is_written_with_its_comments_and_read_as_it_was():
    draft = Draft(head=("From somewhere.",))
    draft.sections |= {"state_dir": "./state", "scheduling": {"load_deadline_s": 900}}
    draft.chains["any"] = ["a"]
    draft.services["local"] = {"engine": "llama_cpp", "allowed_roots": ["/a b", "/c"]}
    keys = {"service": "local", "extra_args": ["--seed", "-1", "--x", "${Y}"] * 6, "vram_mb": 5}
    draft.models["a:1"] = DraftModel(keys, {"vram_mb": "a guess"})
    text = draft.text()
    assert text.startswith("# From somewhere.\n")
    assert "vram_mb: 5   # a guess\n" in text
    assert yaml.safe_load(text) == {
        "state_dir": "./state",
        "scheduling": {"load_deadline_s": 900},
        "gateway": {"chains": {"any": ["a"]}},
        "services": {"local": draft.services["local"]},
        "models": {"a:1": keys},
    }


def test_nothing_at_all_is_a_file_too():
    assert yaml.safe_load(Draft(head=()).text()) == {"services": {}, "models": {}}


@given(st.text() | st.integers() | st.booleans() | st.none())
def test_a_value_is_read_as_it_was(value):
    if isinstance(value, str) and any(not c.isprintable() for c in value):
        return
    assert yaml.safe_load(f"a: [{scalar(value)}]") == {"a": [value]}


def test_equal_services_are_one_and_others_get_a_number():
    draft = Draft(head=())
    assert draft.service("a", {"engine": "x"}) == "a"
    assert draft.service("b", {"engine": "x"}) == "a"
    assert draft.service("a", {"engine": "y"}) == "a-2"


@given(st.text(max_size=200))
def test_whatever_something_is_called_there_is_a_name_for_it(wanted):
    assert name_mistake(named(wanted, ())) is None


def test_a_name_is_as_near_as_it_may_be():
    assert named("org/Model 7B:Q4", ()) == "org-Model-7B:Q4"
    assert named("status", ()) == "model-status"
    assert named("a/b", {"a-b"}) == "a-b-2"
    assert numbered("a", {"a", "a-2"}) == "a-3"


def test_folders_of_files_are_said_once():
    assert roots_of(["/a/b/c.gguf", "/a/d.gguf", "/e/f.gguf", "org/repo:Q4"]) == ["/a", "/e"]


def test_a_note_is_of_a_model_or_of_all():
    assert str(Note("so", "a")) == "a: so"
    assert str(Note("so")) == "so"
