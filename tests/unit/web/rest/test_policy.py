import pytest

from orchestrator.web.rest.policy import page_headers


def test_what_is_not_named_is_not_let_in():
    rules = page_headers("img-src data:", policies="own")["Content-Security-Policy"].split("; ")
    assert rules[0] == "default-src 'none'"
    assert rules[-2:] == ["trusted-types own", "img-src data:"]


@pytest.mark.parametrize("loophole", ["unsafe", "*", "http:", "https:", "blob:"])
def test_no_loophole(loophole):
    assert loophole not in page_headers(policies="own")["Content-Security-Policy"]
