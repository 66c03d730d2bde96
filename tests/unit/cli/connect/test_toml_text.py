import tomllib

import pytest

from orchestrator.cli.connect.merging import NotMerged
from orchestrator.cli.connect.toml_text import merged_toml

ROOT = {"model": "chat", "model_provider": "ours"}
VALUES = {"name": "Ours", "base_url": "http://x/v1", "env_key": None}
TABLE = ("model_providers", "ours")

OLD = """\
# my settings
model = "gpt-5" # the best one
approval_policy = "on-request"
notify = [
  "a",
]

[model_providers.mistral]
name = "Mistral"

# about tools
[mcp_servers.files]
command = "x"
"""


def merged(text, values=VALUES):
    return merged_toml(text, ROOT, TABLE, values)


def test_a_new_file_has_the_root_before_the_table():
    text = merged("")
    assert tomllib.loads(text) == {
        "model": "chat",
        "model_provider": "ours",
        "model_providers": {"ours": {"name": "Ours", "base_url": "http://x/v1"}},
    }


def test_what_was_there_stays_line_by_line():
    lines = merged(OLD).splitlines()
    assert 'model = "chat" # the best one' in lines
    assert set(OLD.splitlines()) - set(lines) == {'model = "gpt-5" # the best one'}
    old, new = tomllib.loads(OLD), tomllib.loads("\n".join(lines))
    assert new["mcp_servers"] == old["mcp_servers"]
    assert new["notify"] == ["a"]
    assert set(new["model_providers"]) == {"mistral", "ours"}


def test_done_twice_it_is_as_once():
    once = merged(OLD)
    assert merged(once) == once


def test_a_table_that_is_there_is_changed_where_it_stands():
    old = merged(OLD, VALUES | {"env_key": "KEY"}) + "stream_max_retries = 3\n\n[after]\na = 1\n"
    assert tomllib.loads(old)["model_providers"]["ours"]["env_key"] == "KEY"
    new = tomllib.loads(merged(old, VALUES | {"base_url": "http://y/v1"}))
    assert new["model_providers"]["ours"] == {
        "name": "Ours", "base_url": "http://y/v1", "stream_max_retries": 3,
    }  # fmt: skip
    assert new["after"] == {"a": 1}


@pytest.mark.parametrize("header", ['[model_providers."ours"]', "[ model_providers . ours ] # x"])
def test_headers_may_be_spelled_otherwise(header):
    new = merged(f'{header}\nname = "old"\n')
    assert new.count("Ours") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model = ", "not TOML"),
        ('model_providers = "x"', "no table"),
        ("model_providers = { ours = { name = 'x' } }", "line by line"),
        ('model_providers.ours.name = "x"', "line by line"),
        ('model = """\nlong\n"""', "line by line"),
        ('text = """\n[model_providers.ours]\nmodel = "x"\n"""', "line by line"),
        ("model = 5", "line by line"),
    ],
)
def test_what_could_lose_something_is_left_alone(text, why):
    with pytest.raises(NotMerged, match=why):
        merged(text)


def test_odd_names_are_quoted():
    new = merged_toml("", {"model": 'a"b\\c\nd'}, ("p", "a b"), {"x": "ü"})
    assert tomllib.loads(new) == {"model": 'a"b\\c\nd', "p": {"a b": {"x": "ü"}}}
