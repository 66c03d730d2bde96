from pathlib import Path

import pytest

from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.errors import StartFailed
from orchestrator.ports import KEY_FILE_TOKEN, Launch
from orchestrator.runtimes.process.handle import ServerRef
from orchestrator.runtimes.process.keyed import key_file, told

GATEWAY = "http://127.0.0.1:8000"


def launch(*argv):
    return Launch(
        instance=InstanceId("a-1"), model=ModelName("a/b"), service=ServiceName("s"), argv=argv
    )


SERVER = ServerRef(
    instance=InstanceId("a-1"),
    model=ModelName("a/b"),
    pid=1,
    started=1,
    boot="b",
    port=4711,
    log=Path("/log"),
)


def test_only_who_asks_for_a_key_has_one(tmp_path):
    keys = ResidentKeys(tmp_path / "keys")
    file = key_file(keys, launch("server", "--api-key-file", KEY_FILE_TOKEN), 4711)
    assert file is not None
    assert keys.bearer("http://127.0.0.1:4711") == f"Bearer {file.read_text().strip()}"
    assert key_file(keys, launch("server"), 4711) is None
    assert keys.bearer("http://127.0.0.1:4711") is None, "it was another server's"
    assert not file.exists()


def test_clients_of_a_closed_server_are_sent_to_the_gateway(tmp_path):
    keys = ResidentKeys(tmp_path / "keys")
    assert told(SERVER, keys, GATEWAY) == SERVER.running
    keys.make("127.0.0.1:4711")
    endpoint = told(SERVER, keys, GATEWAY).endpoint
    assert (endpoint.url, endpoint.named) == (
        "http://127.0.0.1:4711",
        f"{GATEWAY}/upstream/a%2Fb",
    )
    assert told(SERVER, keys, "") == SERVER.running


def test_a_key_that_cannot_be_written_is_a_start_that_failed(tmp_path):
    (tmp_path / "keys").write_text("")
    with pytest.raises(StartFailed, match="key of a/b cannot be written"):
        key_file(ResidentKeys(tmp_path / "keys"), launch(KEY_FILE_TOKEN), 4711)
