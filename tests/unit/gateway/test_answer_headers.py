import pytest

from orchestrator.gateway.answer_headers import ALONE, NOT_ITS_OWN, passed_on

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
