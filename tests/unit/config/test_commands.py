"""Commands of an operator's own programs."""

import pytest

from orchestrator.config.commands import (
    command_mistakes,
    env_mistakes,
    resolved,
    unset_variables,
    words,
)


def said(mistakes):
    return [mistake.sentence for mistake in mistakes]


def test_a_line_is_split_as_a_shell_would():
    line = """server --port ${PORT} \\
      --name 'two words'   # the one for pictures
      --json '{"a": 1}'"""
    assert words(line) == (
        "server",
        "--port",
        "${PORT}",
        "--name",
        "two words",
        "--json",
        '{"a": 1}',
    )
    assert words(("server", "a b # c")) == ("server", "a b # c")


def test_values_are_filled_in_after_the_split_and_a_program_by_path_gets_its_place():
    found = resolved(
        "./run --dir ${DIR}", lambda text: text.replace("${DIR}", "/my models"), "/etc/".__add__
    )
    assert found == ("/etc/./run", "--dir", "/my models")
    assert resolved("run", str, "/etc/".__add__) == ("run",)
    assert resolved("run 'half", str, str) == "run 'half"
    assert resolved(None, str, str) is None


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("server 'half --port ${PORT}", "cannot be split into words: No closing quotation"),
        ("# nothing", "is empty: the first word is the program"),
        (("a", "&&", "b", "${PORT}"), "holds &&, and no shell runs it"),
        ("server --port 8080", "must hold ${PORT}, here or in env"),
    ],
)
def test_what_cannot_be_started_is_refused_with_the_way_out(command, sentence):
    assert any(sentence in found for found in said(command_mistakes(command, ())))


def test_a_port_may_be_told_in_the_environment():
    assert not said(command_mistakes(("server",), ("LISTEN=127.0.0.1:${PORT}",)))


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "VRAM_ORCHESTRATOR_PORT"])
def test_what_the_placement_says_is_not_for_an_operator(name):
    assert said(env_mistakes(("A=b", f"{name}=0"))) == [
        f"{name} is not for env: say `devices` of the model"
    ]


def test_what_the_environment_lacks_is_said_and_what_we_fill_in_is_no_lack():
    def unset(text):
        return [name for name in ("PORT", "TOKEN") if f"${{{name}}}" in text]

    found = list(unset_variables(("models", "m"), "run ${PORT} ${TOKEN}", ("A=${TOKEN}",), unset))
    assert [mistake.where for mistake in found] == [
        ("models", "m", "command"),
        ("models", "m", "env"),
    ]
    assert "TOKEN" in found[0].sentence


def test_a_word_may_be_empty_and_a_program_may_not():
    assert not said(command_mistakes(("server", "--path", "", "${PORT}"), ()))
    assert "is empty: the first word is the program" in said(command_mistakes(("", "${PORT}"), ()))
