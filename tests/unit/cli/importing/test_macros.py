"""llama-swap's macros."""

from orchestrator.cli.importing.macros import CHARS_MAX, Macros, command_text


def test_a_models_own_wins_and_macros_stand_in_macros():
    macros = Macros({}, {"ctx": 4096, "room": "-c ${ctx}"}, {"ctx": 8192}, {"MODEL_ID": "a"})
    assert (
        macros.expanded("${room} --alias ${MODEL_ID} --port ${PORT}")
        == "-c 8192 --alias a --port ${PORT}"
    )


def test_the_environment_is_asked_and_what_it_lacks_is_kept():
    macros = Macros({"HOME": "/home/op"}, {"models": "${env.HOME}/models"})
    assert macros.expanded("${models}/${env.NONE}") == "/home/op/models/${env.NONE}"
    assert macros.unset == {"NONE"}


def test_unknown_ones_stay_and_are_named():
    macros = Macros({}, None, {"yes": True})
    text = macros.expanded("${yes} ${no} ${PORT} ${PID}")
    assert text.startswith("true ${no}")
    assert list(macros.unknown(text)) == ["no"]


def test_macros_that_hold_themselves_end():
    macros = Macros({}, {"a": "${b}${b}", "b": "${a}${a}"})
    assert len(macros.expanded("${a}" * 8)) <= CHARS_MAX


def test_comments_and_broken_lines_of_a_command():
    assert command_text("# ${no}\nserver \\\n --a 1\n  # b\n").split() == ["server", "--a", "1"]
