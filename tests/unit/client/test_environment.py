import pytest

from orchestrator.client.environment import (
    checked_url,
    daemon_key,
    daemon_url,
    is_of_this_machine,
)
from orchestrator.client.errors import NotChosen


def test_what_is_said_counts_then_the_environment_then_the_default():
    environ = {"ORCHESTRATOR_URL": "https://gpu.lan/\n", "ORCHESTRATOR_API_KEY": " k "}
    assert daemon_url("http://box:1/", environ) == "http://box:1"
    assert daemon_url(None, environ) == "https://gpu.lan"
    assert daemon_url(None, {}) == "http://127.0.0.1:8000"
    assert daemon_key("mine", environ) == "mine"
    assert daemon_key(None, environ) == "k"
    assert daemon_key(None, {"ORCHESTRATOR_API_KEY": ""}) is None


@pytest.mark.parametrize("url", ["box:8000", "ftp://box", "http://", "http://b:x", "http://a b"])
def test_what_is_no_url_is_told_so(url):
    with pytest.raises(NotChosen, match="is not a URL"):
        checked_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("https://orchestrator.lan", False),
        ("http://192.168.1.4", False),
    ],
)
def test_this_machine_needs_no_proxy(url, expected):
    assert is_of_this_machine(url) is expected


def test_key_may_lie_in_a_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("vo_x\n")
    environ = {"ORCHESTRATOR_API_KEY_FILE": str(file)}
    assert daemon_key(None, environ) == "vo_x"
    assert daemon_key("given", environ) == "given"
    assert daemon_key(None, {**environ, "ORCHESTRATOR_API_KEY": "said"}) == "said"
    with pytest.raises(NotChosen, match="cannot be read"):
        daemon_key(None, {"ORCHESTRATOR_API_KEY_FILE": str(tmp_path / "none")})
