"""Answers of model servers, read from bytes that come cut anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.gateway.answer_reader import HEAD_BYTES_MAX, AnswerReader, NotHttp
from tests.scenarios.bent_server import ANSWERS

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n"
LENGTH = OK + b"Content-Length: 7\r\n\r\nhello!!"


def read(data, cuts=(), *, bodiless=False, hangs_up=False):
    reader = AnswerReader(bodiless=bodiless)
    body = b""
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        reader.feed(data[begin:end])
        body += reader.take()
    if hangs_up:
        reader.feed_end()
    return reader, body


@pytest.mark.parametrize("data", [CHUNKED, LENGTH])
@given(cuts=st.lists(st.integers(0, len(CHUNKED)), max_size=6))
@settings(max_examples=30)
def test_a_body_is_whole_wherever_it_was_cut(data, cuts):
    reader, body = read(data, sorted(min(cut, len(data)) for cut in cuts))
    assert (reader.status, body) == (200, b"hello!!")
    assert reader.complete
    assert reader.reusable


def test_names_of_headers_are_in_lower_case_and_values_as_they_came():
    reader, _ = read(OK + b"X-One: A b\r\nContent-Length: 0\r\n\r\n")
    assert reader.headers == [(b"x-one", b"A b"), (b"content-length", b"0")]


def test_what_a_server_says_before_its_answer_is_not_the_answer():
    reader, body = read(b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + LENGTH)
    assert (reader.status, body, reader.complete) == (200, b"hello!!", True)
    assert reader.headers == [(b"content-length", b"7")]


def test_what_stands_behind_the_last_chunk_is_no_header():
    reader, body = read(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Late: 1\r\n\r\n")
    assert (body, reader.complete) == (b"x", True)
    assert [name for name, _ in reader.headers] == [b"transfer-encoding"]


def test_an_answer_to_head_has_no_body_whatever_it_says():
    reader, body = read(OK + b"Content-Length: 7\r\n\r\n", bodiless=True)
    assert (body, reader.complete, reader.reusable) == (b"", True, False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_answers_have_none(status):
    reader, body = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert (body, reader.complete) == (b"", True)


def test_a_body_without_an_end_ends_with_its_connection():
    reader, body = read(b"HTTP/1.0 200 OK\r\n\r\nto its end", hangs_up=True)
    assert (body, reader.complete, reader.reusable) == (b"to its end", True, False)


@pytest.mark.parametrize("data", [b"", OK, LENGTH[:-1], CHUNKED[:-1]])
def test_an_answer_that_is_cut_is_none(data):
    with pytest.raises(NotHttp):
        read(data, hangs_up=True)


@pytest.mark.parametrize("behind", [b"x", LENGTH, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_nobody_asked_for_what_comes_behind_it(behind):
    reader, body = read(LENGTH + behind)
    assert (body, reader.complete, reader.reusable) == (b"hello!!", True, False)
    later, _ = read(LENGTH)
    later.feed(behind)
    assert not later.reusable


def test_a_server_that_closes_says_so():
    reader, _ = read(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    assert (reader.complete, reader.reusable) == (True, False)


def test_a_change_of_protocol_is_told_by_its_status():
    switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi"
    reader, body = read(switched)
    assert (reader.status, body, reader.reusable) == (101, b"", False)


@pytest.mark.parametrize("data", [b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n", CHUNKED[:-12] + b"zz\r\n"])
def test_what_is_no_http_is_said(data):
    with pytest.raises(NotHttp):
        read(data)


def test_what_came_before_that_can_be_read():
    reader = AnswerReader()
    with pytest.raises(NotHttp):
        reader.feed(CHUNKED[:-12] + b"zz\r\n")
    assert reader.take() == b"hello"


def test_a_head_has_a_bound():
    with pytest.raises(NotHttp):
        read(OK + b"X-Long: " + b"y" * HEAD_BYTES_MAX)


@given(
    data=st.sampled_from(ANSWERS), cuts=st.lists(st.integers(0, 200), max_size=4), noise=st.binary()
)
def test_bytes_of_any_kind_are_an_answer_or_none(data, cuts, noise):
    """And nothing else is raised."""
    reader = AnswerReader()
    try:
        for cut in cuts:
            reader.feed(data[:cut])
        reader.feed(data + noise)
        reader.feed_end()
    except NotHttp:
        pass
    else:
        assert reader.complete
    assert not reader.reusable
