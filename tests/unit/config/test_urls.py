"""Where a server may be said to answer: what an API caller may name is in test_bodies.py (nothing)
and test_webhooks.py (what is listed); no redirect is followed, test_http.py and test_delivery.py.
"""

import pytest

from orchestrator.config.loading import load_config
from orchestrator.config.urls import OF_CLOUDS, url_problem
from orchestrator.errors import ConfigInvalid


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://127.0.0.1:8080", ""),
        ("http://[::1]:8080/", ""),
        ("http://[::ffff:127.0.0.1]:8080", ""),
        ("http://llama-cpp:8000", ""),
        ("http://192.168.1.7:8000/base", ""),
        ("http://169.254.169.254/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://2852039166/", "link-local"),
        ("http://0xa9fea9fe/", "link-local"),
        ("http://0xa9.254.169.254/", "link-local"),
        ("http://0251.0376.0251.0376/", "link-local"),
        ("http://169.254.43518/", "link-local"),
        ("http://0.0.0.0:8000", "no address"),
        ("http://[::]:8000", "no address"),
        ("http://0/", "no address"),
        ("http://224.0.0.1/", "no address"),
        *((f"http://{name}/", "credentials") for name in sorted(OF_CLOUDS)),
        ("http://METADATA./", "credentials"),
        ("http://127.0.0.1:99999/", "no URL"),
        ("http://[::1", "no URL"),
    ],
)
def test_external_url_rules(url, wrong):
    said = url_problem(url)
    assert (said is None) == (wrong == "")
    assert wrong in (said or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@169.254.169.254/",
        "http://127.0.0.1@169.254.169.254/",
        "http://127.0.0.1#@169.254.169.254/",
        "http://127.0.0.1?@169.254.169.254/",
        "http:// 127.0.0.1/",
        "http://.evil/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
        "//127.0.0.1/",
    ],
)
def test_what_two_parsers_would_read_differently_is_no_url(tmp_path, url):
    file = tmp_path / "o.yaml"
    file.write_text(f"services: {{e: {{engine: llama_cpp, runtime: external, url: {url!r}}}}}\n")
    with pytest.raises(ConfigInvalid, match=r"services\.e\.url"):
        load_config(file, environ={})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (
            "services: {e: {engine: llama_cpp, runtime: external, url: 'http://0/'}}",
            "services.e.url",
        ),
        ("webhooks: {urls: ['http://169.254.169.254/']}", r"webhooks.urls\[0\]"),
        ("webhooks: {callback_urls: ['http://169.254.169.254/']}", r"webhooks.callback_urls\[0\]"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, where):
    file = tmp_path / "o.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigInvalid, match=where):
        load_config(file, environ={})
