import json

import pytest

from orchestrator.access.audit.lines import (
    LINE_BYTES_MAX,
    NOTHING_YET,
    TEXT_CHARS_MAX,
    Act,
    Head,
    NoLine,
    decode,
    encode,
)
from orchestrator.access.caller import Caller, Via

KEY = "vo_abcd1234_" + "s3cret" * 7
CALLER = Caller(key="abcd1234", session="s1", address="10.0.0.7", via=Via.EDGE)


def line(**more):
    return encode(Act(action="model.load", caller=CALLER, **more), at="now", after=NOTHING_YET)


def test_a_line_says_who_did_what_and_names_the_one_before():
    raw, head = line(target="qwen", numbers={"wait_s": 1.5}, request_id="r1")
    told = json.loads(raw)
    assert told == {
        "seq": 1,
        "at": "now",
        "actor": {"key": "abcd1234", "session": "s1", "ip": "10.0.0.7", "via": "edge"},
        "action": "model.load",
        "target": "qwen",
        "outcome": "granted",
        "code": None,
        "request_id": "r1",
        "numbers": {"wait_s": 1.5},
        "prev": "0" * 64,
    }
    assert list(told) == sorted(told)
    after, _ = encode(Act(action="x", caller=CALLER), at="now", after=head)
    assert json.loads(after)["prev"] == head.digest


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nb", "a\u2028b", "a\x00b", 'a"}\n{"seq":1', "\ud800"]
)
def test_newline_in_name_is_one_line(name):
    raw, _ = line(target=name)
    assert len(raw.splitlines()) == 1
    assert decode(raw)["target"] == name


def test_no_name_is_longer_than_a_line_may_be():
    raw, _ = line(target="\U0001f600" * 10_000, code="x" * 10_000, request_id="\n" * 10_000)
    assert len(raw) < LINE_BYTES_MAX
    assert len(decode(raw)["target"]) == TEXT_CHARS_MAX + 1


def test_no_secret_stands_in_a_line():
    raw, _ = line(target=f"Bearer {KEY}", code=KEY)
    assert b"s3cret" not in raw
    assert b"vo_abcd1234_" in raw, "the id of a key is public, and says which one it was"


@pytest.mark.parametrize(
    "raw", [b"", b"what?", b"[]", b"{}", b'{"prev":"0","seq":"1"}', b"[" * 9000]
)
def test_what_is_no_line_is_refused(raw):
    with pytest.raises(NoLine):
        decode(raw)


def test_a_head_is_told_as_verify_takes_it():
    assert str(Head(7, "ab")) == "7:ab"
