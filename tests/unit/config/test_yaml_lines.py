import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.yaml_lines import DEPTH_MAX, VALUES_MAX, read_yaml, show


def complaints(text):
    text = text.encode() if isinstance(text, str) else text
    return [(each.line, show(each.where), each.sentence) for each in read_yaml(text).mistakes]


def test_values_have_the_types_of_json():
    written = read_yaml(
        b"a: 1\nb: 1.5\nc: true\nd: null\ne: text\nf: '8'\ng: [x, 2]\nh: {i: 1e3}\nj:\nk: -0\n"
    )
    assert written.mistakes == []
    assert written.content == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": "text",
        "f": "8",
        "g": ["x", 2],
        "h": {"i": 1000.0},
        "j": None,
        "k": 0,
    }


@pytest.mark.parametrize("word", ["no", "off", "on", "1:30", "2024-01-01", "0x10", "1_000", "="])
def test_words_that_other_parsers_convert_stay_text(word):
    assert read_yaml(f"a: {word}".encode()).content == {"a": word}


def test_every_key_and_list_entry_has_its_line():
    written = read_yaml(b"# first\nmodels:\n  qwen:\n    aliases:\n      - a\n      - b\n")
    assert written.line(("models",)) == 2
    assert written.line(("models", "qwen")) == 3
    assert written.line(("models", "qwen", "aliases", 1)) == 6
    assert written.line(("models", "qwen", "file")) == 3, "of the nearest thing around it"


def test_a_key_that_is_there_twice_is_named_with_both_lines():
    text = "a: 1\nb: 2\na: 3\n"
    assert complaints(text) == [(3, "a", "is here a second time; the first is in line 1")]
    assert read_yaml(text.encode()).content == {"a": 1, "b": 2}


def test_anchors_are_read():
    assert read_yaml(b"a: &x [1, 2]\nb: *x\n").content == {"a": [1, 2], "b": [1, 2]}


def test_aliases_that_mean_gigabytes_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    [(_, _, sentence)] = complaints("\n".join(lines))
    assert str(VALUES_MAX) in sentence


def test_an_anchor_inside_itself_is_refused():
    [(line, where, _)] = complaints("b: 1\na: &x [1, *x]")
    assert (line, where) == (2, "a[1]")


def test_deep_nesting_is_refused():
    [(_, _, sentence)] = complaints("a: " + "[" * 2 * DEPTH_MAX)
    assert str(DEPTH_MAX) in sentence


def test_nesting_that_aliases_hide_is_refused():
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2 * DEPTH_MAX))]
    [(_, _, sentence)] = complaints("\n".join(lines))
    assert str(DEPTH_MAX) in sentence


def test_what_is_wrong_in_an_anchored_value_is_said_where_it_is_written():
    text = "a: &x {k: 1, k: 2}\nb: *x\n"
    assert [(line, where) for line, where, _ in complaints(text)] == [(1, "a.k"), (1, "b.k")]


def test_absurd_nesting_is_refused_at_once():
    """By the parser itself in some of its versions, by us where it would go on."""
    [(_, _, sentence)] = complaints("a: " + "[" * 200_000)
    assert "nesting" in sentence


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\n b: 2\n", 2, "not YAML"),
        ("a: 'open\n", 2, "not YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tags"),
        ("a: !!int '3'\n", 1, "tags"),
        ("x: &x {b: 1}\na:\n  <<: *x\n", 3, "merge keys"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("a: 1\nb: *x\n", 2, "alias"),
        ("a: &x 1\nb: &x 2\n", 2, "choose another"),
        ("- a\n", 1, "mapping"),
        ("just words\n", 1, "mapping"),
        ("? [a, b]\n: 1\n", 1, "plain word"),
        ("a: 1\nb: 123456789012345678901\n", 2, "digits"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        (b"a: \x00\n", 1, "not YAML"),
    ],
)
def test_what_is_not_read_is_said_with_its_line(text, line, word):
    [(at, _, sentence)] = complaints(text)
    assert at == line
    assert word in sentence


def test_nothing_at_all_is_an_empty_configuration():
    assert read_yaml(b"").content == {}
    assert complaints("# only a comment\n") == []


def test_a_file_that_is_too_large_is_not_parsed():
    [(_, _, sentence)] = complaints("#" * ((1 << 20) + 1))
    assert "larger than 1 MiB" in sentence


@given(st.binary(max_size=200) | st.text("{}[]:-&*!|>'\"\n a0#?,%@`", max_size=80).map(str.encode))
def test_any_bytes_are_answered_with_sentences(text):
    read_yaml(text)
