"""The SDK's client, where nobody listens: its sockets are closed at once."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from docker.errors import DockerException

from orchestrator.runtimes.docker.client import DockerClient
from tests.unit.runtimes.scripted_engine import scripted_engine


@contextmanager
def nothing_left_open() -> Iterator[None]:
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_an_engine_that_was_never_there_leaves_no_socket_open(tmp_path: Path) -> None:
    with nothing_left_open(), pytest.raises(DockerException):
        DockerClient(f"unix://{tmp_path / 'none.sock'}", "auto", 1)


def test_an_engine_that_has_gone_leaves_no_socket_open() -> None:
    with nothing_left_open():
        with scripted_engine() as engine:
            client = DockerClient(engine.url, "auto", 1)
            assert client.containers(all=True) == []
        with pytest.raises(requests.ConnectionError):
            client.containers(all=True)
        client.close()
