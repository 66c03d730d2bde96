import pytest

from orchestrator.gateway.ollama.paths import NOT_HERE, find
from orchestrator.gateway.paths import Protocol, Task

PAGE = ((b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8"),)
ANY = ((b"accept", b"*/*"),)


@pytest.mark.parametrize(
    ("method", "path", "task"),
    [
        ("POST", "/api/chat", Task.CHAT),
        ("POST", "/api/generate", Task.COMPLETION),
        ("POST", "/api/embed", Task.EMBEDDINGS),
        ("POST", "/api/embeddings", Task.EMBEDDINGS),
        ("POST", "/api/pull", Task.INFO),
        ("POST", "/api/show", Task.INFO),
        ("DELETE", "/api/delete", Task.INFO),
        ("GET", "/api/tags", Task.INFO),
        ("HEAD", "/api/version", Task.INFO),
        ("GET", "/api/ps", Task.INFO),
        ("HEAD", "/", Task.INFO),
    ],
)
def test_what_is_ollamas(method, path, task):
    found = find(method, path, ANY)
    assert (found.path, found.call.task, found.call.protocol) == (path, task, Protocol.OLLAMA)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/chat"), ("POST", "/api/tags"), ("GET", "/api"), ("POST", "/"), ("GET", "/x")],
)
def test_what_is_not(method, path):
    assert find(method, path, ANY) is None


def test_the_root_is_ollamas_for_all_but_those_who_ask_for_a_page():
    assert find("GET", "/", ANY) is not None
    assert find("GET", "/", ()) is not None
    assert find("GET", "/", PAGE) is None
    assert find("HEAD", "/", PAGE) is not None
    assert find("GET", "/api/tags", PAGE) is not None


@pytest.mark.parametrize("path", sorted(NOT_HERE))
def test_what_changes_ollamas_own_store_is_answered(path):
    assert find("POST", path, ANY) is not None
