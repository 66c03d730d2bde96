"""What the scheduler is told of networks: those of closed containers alone."""

import yaml

from orchestrator.config.loading import load_config
from orchestrator.core.room.ledger import Ledger
from orchestrator.daemon.deciding import make_scheduler

DOCKER = {"engine": "llama_cpp", "runtime": "docker", "image": "i"}
POOL = ["n1", "n2"]
SERVICES = {
    "closed": {**DOCKER, "networks": POOL, "closed": True},
    "unsaid": {**DOCKER, "networks": POOL},
    "open": {**DOCKER, "networks": POOL, "closed": False},
    "none": DOCKER,
}


def told(tmp_path, *, keyed):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(yaml.safe_dump({"services": SERVICES}))
    config = load_config(file, environ={})
    return make_scheduler(config, {}, Ledger(), keyed=keyed).state.networks


def test_each_server_of_a_closed_service_is_to_have_one(tmp_path):
    assert told(tmp_path, keyed=False) == {"closed": frozenset(POOL)}
    assert told(tmp_path, keyed=True) == dict.fromkeys(("closed", "unsaid"), frozenset(POOL))
