import pytest

from orchestrator.gateway.answer_headers import ALONE, NOT_ITS_OWN, head_passed_on, passed_on

KIND = (b"content-type", b"text/html")


@pytest.mark.parametrize("name", sorted(NOT_ITS_OWN))
def test_server_speaks_for_its_answer_alone(name):
    assert passed_on([KIND, (name, b"/keys")], 200) == [KIND, *ALONE]


def test_page_of_a_server_is_nobodys():
    said = passed_on([(b"content-security-policy", b"default-src *")], 200)
    assert (b"content-security-policy", b"sandbox") in said, "of several policies all hold"


def test_what_is_about_the_hop_or_cannot_be_sent_is_left_out():
    odd = [(b"connection", b"x"), (b"transfer-encoding", b"chunked"), (b"x-odd", b"a\x01b")]
    assert passed_on([*odd, (b"x-own", b"kept")], 200) == [(b"x-own", b"kept"), *ALONE]


@pytest.mark.parametrize(("status", "kept"), [(200, True), (204, False), (304, False)])
def test_length_of_a_body_that_does_not_follow_is_left_out(status, kept):
    assert ((b"content-length", b"5") in passed_on([(b"content-length", b"5")], status)) is kept


def test_a_change_of_protocol_speaks_for_itself_alone_too():
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSet-Cookie: a=b;\r\n c=d\r\n"
    head += b"SET-COOKIE : a=b\r\nX-Odd: 1\nSet-Cookie: a=b\r\nSec-WebSocket-Accept: abc="
    said = head_passed_on(head).split(b"\r\n")
    assert said[:3] == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Accept: abc=",
    ]
    assert said[3:] == [name + b": " + value for name, value in ALONE]
