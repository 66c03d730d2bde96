import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.connect.merging import (
    NotMerged,
    merged_env,
    merged_json,
    merged_json_list,
)

SETTINGS = {"env": {"URL": "http://x", "MODEL": "chat"}}


def test_an_object_keeps_what_else_it_has():
    old = {"permissions": {"allow": ["Bash"]}, "env": {"FOO": "1", "URL": "old"}, "n": 2**60}
    new = json.loads(merged_json(json.dumps(old), SETTINGS))
    assert new == old | {"env": {"FOO": "1", "URL": "http://x", "MODEL": "chat"}}
    assert list(new) == list(old)


def test_a_file_without_anything_gets_the_settings():
    assert json.loads(merged_json(" \n", SETTINGS)) == SETTINGS


def test_what_says_so_already_is_not_changed():
    once = merged_json("", SETTINGS)
    assert merged_json(once, SETTINGS) == once


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "no object"),
        ("{", "not JSON"),
        ('{"a": 1, // comment\n}', "not JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"env": "text"}', "`env` is no object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_could_lose_something_is_left_alone(text, why):
    with pytest.raises(NotMerged, match=why):
        merged_json(text, SETTINGS)


def test_items_of_a_list_are_known_by_their_identity():
    old = [{"id": "1", "name": "old", "more": 1}, {"id": "x"}, "text", {"name": "no id"}]
    new = json.loads(
        merged_json_list(json.dumps(old), [{"id": "1", "name": "new"}, {"id": "2"}], "id")
    )
    assert new == [{"id": "1", "name": "new", "more": 1}, *old[1:], {"id": "2"}]
    with pytest.raises(NotMerged, match="no list"):
        merged_json_list("{}", [], "id")


names = st.text("abc", min_size=1, max_size=3)
values = st.none() | st.integers() | st.text() | st.dictionaries(names, st.integers(), max_size=3)


@settings(max_examples=50)
@given(st.dictionaries(names, values), st.dictionaries(names, st.text()))
def test_nothing_else_ever_changes(old, settings):
    new = json.loads(merged_json(json.dumps(old), settings))
    assert new == old | settings


def test_variables_keep_their_lines():
    old = "# mine\nFOO=1\nexport URL=old\n\nBAR = x=y\n"
    assert merged_env(old, {"URL": "http://x", "KEY": "k"}) == (
        "# mine\nFOO=1\nexport URL=http://x\n\nBAR = x=y\nKEY=k\n"
    )
    assert merged_env("", {"URL": "a"}) == "URL=a\n"
    assert merged_env("#URL=old", {"URL": "a"}) == "#URL=old\nURL=a\n"


def test_a_variable_that_is_there_twice_is_left_alone():
    with pytest.raises(NotMerged, match="URL twice"):
        merged_env("URL=a\nURL=b\n", {"URL": "c"})
