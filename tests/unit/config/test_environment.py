import pytest

from orchestrator.config.environment import filled, unset

ENVIRON = {"MODELS_DIR": "/mnt/my models", "EMPTY": "", "_a1": "x"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/plain", "/plain"),
        ("${MODELS_DIR}", "/mnt/my models"),
        ("${MODELS_DIR}/hub/${_a1}", "/mnt/my models/hub/x"),
        ("${MODELS_DIR:-/srv/models}", "/mnt/my models"),
        ("${NONE:-/srv/models}/hub", "/srv/models/hub"),
        ("${EMPTY:-~/models}", "~/models"),
        ("$MODELS_DIR/${}/${1}/${A B}", "$MODELS_DIR/${}/${1}/${A B}"),
    ],
)
def test_variables_are_filled_in(path, expected):
    assert filled(path, ENVIRON) == expected
    assert unset(path, ENVIRON) == []


@pytest.mark.parametrize(
    ("path", "names"),
    [("${NONE}", ["NONE"]), ("${NONE:-}/${EMPTY}", ["NONE", "EMPTY"]), ("/a/${MODELS_DIR}", [])],
)
def test_variables_without_a_value_are_named_and_stay(path, names):
    assert unset(path, ENVIRON) == names
    if names:
        assert filled(path, ENVIRON) == path


def test_a_value_is_not_filled_in_again():
    assert filled("${A}", {"A": "${B}", "B": "b"}) == "${B}"
