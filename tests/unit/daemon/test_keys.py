from dataclasses import replace

import pytest

from orchestrator.access.keys import acts
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.store import KeyFile
from orchestrator.access.keys.wish import KeyWish
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.config.loading import load_config
from orchestrator.config.sections import ServerSettings
from orchestrator.daemon.keys import NoKeys, is_loopback, opened_keys


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "orchestrator.yaml"
    path.write_text("services: {}\n")
    config = load_config(path, environ={})
    config.state_dir.mkdir(exist_ok=True)
    return config


def make_key(config):
    file = KeyFile.at(config.state_dir)
    new, _ = acts.create(file, KeyWish(name="a", scopes=(KeyScope.READ,)), 0.0)
    file.close()
    return new


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_without_keys_it_serves_this_machine(config, host):
    assert is_loopback(host)
    assert not opened_keys(replace(config, server=ServerSettings(host=host))).closed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gpu.lan", "localhost.example"])
def test_non_loopback_bind_without_keys_refuses_to_start(config, host):
    reached = replace(config, server=ServerSettings(host=host))
    with pytest.raises(NoKeys) as refused:
        opened_keys(reached)
    _, first, second = str(refused.value).splitlines()
    assert first.strip().startswith("orchestrator keys create admin --scope admin --config ")
    assert second.strip() == "orchestrator serve --host 127.0.0.1"
    make_key(reached)
    assert opened_keys(reached).closed


def test_edge_that_others_reach_needs_keys_too(config):
    with pytest.raises(NoKeys, match=r"edge\.host 0\.0\.0\.0"):
        opened_keys(replace(config, edge=EdgeSettings(host="0.0.0.0")))


def test_switch_that_opens_it_is_called_insecure(config):
    server = ServerSettings(host="0.0.0.0", insecure_no_keys=True)
    assert not opened_keys(replace(config, server=server)).closed


def test_last_key_that_is_revoked_does_not_open_it(config):
    new = make_key(config)
    file = KeyFile.at(config.state_dir)
    acts.revoke(file, new.record.id, 0.0)
    file.close()
    assert opened_keys(config).closed


def test_file_that_cannot_be_read_ends_the_start(config):
    (config.state_dir / "keys.sqlite").write_text("damaged" * 1000)
    with pytest.raises(NoKeys, match="cannot be used"):
        opened_keys(config)
