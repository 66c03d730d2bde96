"""Members are found in large bodies without decoding them, and as a decoder would find them."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.gateway.members import (
    DECODED_BYTES_MAX,
    DEPTH_MAX,
    PARTS_MAX,
    NotAnObject,
    check_parts,
    members,
)

NAMES = ("model", "stream", "previous_response_id")
PADDING = "p" * (DECODED_BYTES_MAX + 1)

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*NAMES, 'mo"del', ""]), inner),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from([*NAMES, "messages", "\\model", 'model"']), values)


def expected(body):
    read = json.loads(body)
    return {
        name: read[name]
        for name in NAMES
        if read.get(name) is not None and not isinstance(read[name], dict | list)
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a crowded machine
@given(objects, st.booleans(), st.sampled_from([None, 2]), st.booleans())
def test_small_and_large_bodies_say_what_a_decoder_says(content, ascii_only, indent, large):
    if large:
        content = {"messages": PADDING, **content, "end": 1}
    body = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    assert members(body.encode(), NAMES) == expected(body)


@pytest.mark.parametrize("padding", ["", PADDING])
def test_of_a_member_that_is_there_twice_the_last_counts(padding):
    body = f'{{"model": "a", "x": "{padding}", "model": "b"}}'.encode()
    assert members(body, NAMES) == {"model": "b"}


@pytest.mark.parametrize("padding", ["", PADDING])
def test_a_name_may_be_written_with_escapes(padding):
    body = f'{{"x": "{padding}", "mod\\u0065l": "a"}}'.encode()
    assert members(body, NAMES) == {"model": "a"}


def test_large_numbers_stay_what_they_are():
    assert members(b'{"seed": 18446744073709551615}', ("seed",)) == {"seed": 2**64 - 1}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"x"', b"{", b'{"model"', b'{"a": "b', b'{"a": 1} x', b"nonsense", b"\xff\xfe"],
)
@pytest.mark.parametrize("large", [False, True])
def test_what_is_no_object_is_said_to_be_none(body, large):
    if large:
        body = body.replace(b"{", b'{"x": "' + PADDING.encode() + b'", ', 1)
        body += b" " * (DECODED_BYTES_MAX + 1)
    with pytest.raises(NotAnObject):
        members(body, NAMES)


def test_depth_has_a_bound():
    with pytest.raises(NotAnObject, match="deeper"):
        members(b'{"a":' + b"[" * (DEPTH_MAX + DECODED_BYTES_MAX), NAMES)


def best_s(read):
    """Of some tries: the others were interrupted."""
    tries_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        read()
        tries_s.append(time.perf_counter() - began_s)
    return min(tries_s)


def test_a_picture_of_ten_megabytes_is_quick():
    body = b'{"messages": "' + b"QUJD" * 2_500_000 + b'", "model": "a"}'
    assert members(body, NAMES) == {"model": "a"}
    assert best_s(lambda: members(body, NAMES)) < best_s(lambda: json.loads(body)) / 4


@pytest.mark.parametrize("part", [b"[],", b'"",', b'{"a":1},'])
def test_many_parts_are_no_body(part):
    """Each takes a moment, in which nobody else is served."""
    body = b'{"x":[' + part * (PARTS_MAX + 1) + b'1],"model":"a"}'
    for read in (lambda: members(body, NAMES), lambda: check_parts(body)):
        with pytest.raises(NotAnObject, match="more than"):
            read()


def test_many_numbers_are_no_parts_where_they_are_not_decoded():
    """Texts are sent as tokens, a million of them."""
    body = b'{"input":[' + b"1," * PARTS_MAX + b'1],"model":"a"}'
    assert members(body, NAMES) == {"model": "a"}
    with pytest.raises(NotAnObject, match="more than"):
        check_parts(body)
