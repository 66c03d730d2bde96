from orchestrator.cli.key_lines import key_lines, made_key_lines, revoked_lines
from orchestrator.web.wire import key_shapes


def test_key_alone_is_the_first_line():
    assert made_key_lines(key_shapes.MADE)[0] == key_shapes.MADE["key"]


def test_list_without_keys_says_what_that_means():
    assert key_lines({"keys": []}) == [
        "There are no keys: who reaches the daemon may do everything."
    ]


def test_revoked_ones_are_named():
    assert revoked_lines({"revoked": ["a", "b"]}) == ["Revoked: a, b."]
