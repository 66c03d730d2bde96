import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.connect.merging import NotMerged
from orchestrator.cli.connect.yaml_text import merged_yaml

HEAD = {"name": "Local", "schema": "v1"}
ITEMS = [{"name": "chat", "apiBase": "http://x/v1"}, {"name": "code", "apiBase": "http://x/v1"}]

OLD = """\
# mine
name: My Assistant
models:
  # the first
  - name: GPT
    provider: openai   # not local
    roles: [chat]

  - name: chat
    apiBase: http://old/v1
    roles:
      - edit

# what follows
rules:
  - Be brief.
"""


def merged(text, items=ITEMS):
    return merged_yaml(text, HEAD, "models", items, "name")


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n"])
def test_a_new_file_has_its_head(text):
    assert yaml.safe_load(merged(text)) == HEAD | {"models": ITEMS}


def test_what_was_there_stays_line_by_line():
    new = merged(OLD)
    for line in ("# mine", "  # the first", "    provider: openai   # not local", "# what follows"):
        assert line in new.splitlines()
    told = yaml.safe_load(new)
    assert [each["name"] for each in told["models"]] == ["GPT", "chat", "code"]
    assert told["models"][1] == {"name": "chat", "apiBase": "http://x/v1", "roles": ["edit"]}
    assert told["rules"] == ["Be brief."]
    assert new.index("code") < new.index("# what follows")


def test_done_twice_it_is_as_once():
    once = merged(OLD)
    assert merged(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "models: []\nrules: [a]\n",
        "models:\nrules: [a]\n",
        "rules: [a]\nmodels:",
        "rules: [a]\nmodels: # none yet\n",
        "rules: [a]",
        "models:\n- name: x\nrules: [a]\n",
        "rules: [a]\nmodels:\n- name: x",
        "rules: [a]\nmodels:\n    -   name: x\n        y: |\n          text\n\n          more\n",
        "models:\n-\n  name: x\nrules: [a]",
    ],
)
def test_lists_of_all_shapes_take_items(text):
    old, new = yaml.safe_load(text), yaml.safe_load(merged(text))
    assert new["rules"] == ["a"]
    assert new["models"] == [*(old.get("models") or []), *ITEMS]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("models: {", "not YAML"),
        ("- a", "no mapping"),
        ("models: text", "no list"),
        ("models: [{name: x}]", "line by line"),
        ("{models: [], rules: []}", "line by line"),
        ("a: &m [x]\nmodels: *m", "line by line"),
        ("models: !!python/object:x.y {}", "not YAML"),
        ("models:\n- a\n---\nb: 1", "not YAML"),
    ],
)
def test_what_could_lose_something_is_left_alone(text, why):
    with pytest.raises(NotMerged, match=why):
        merged(text)


def test_nested_settings_of_an_item_are_merged():
    old = "model_list:\n- model_name: a\n  litellm_params:\n    rpm: 5\n    model: x\n"
    item = {"model_name": "a", "litellm_params": {"model": "openai/a"}}
    new = yaml.safe_load(merged_yaml(old, {}, "model_list", [item], "model_name"))
    assert new["model_list"][0]["litellm_params"] == {"rpm": 5, "model": "openai/a"}


scalars = st.text(max_size=12) | st.integers() | st.booleans() | st.none()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
entries = st.dictionaries(st.text("abn", min_size=1, max_size=2), values, min_size=1, max_size=3)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from("abc"), values),
    st.lists(entries, max_size=4),
    st.booleans(),
)
def test_whatever_stands_there_nothing_is_lost(others, listed, first):
    old = {"models": listed, **others} if first else {**others, "models": listed}
    text = yaml.safe_dump(old, sort_keys=False, default_flow_style=False, allow_unicode=True)
    read = yaml.safe_load(text)
    assert yaml.safe_load(merged(text)) == read | {"models": [*read["models"], *ITEMS]}
