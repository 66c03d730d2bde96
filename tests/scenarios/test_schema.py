"""What the OpenAPI document says is what the daemon does: schemathesis, with all its checks.

By hand for longer, and with another seed: `make schema SECONDS=600 SEED=7`.
"""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx

from orchestrator.gateway.described import TAGS
from tests.scenarios.daemon import model
from tests.scenarios.test_keys import key_of

SECONDS = int(os.getenv("SCHEMA_SECONDS", "25"))
SEED = os.getenv("SCHEMA_SEED", "1")
SETTINGS = Path(__file__).parents[1] / "tools" / "schemathesis.toml"
HOOKS = SETTINGS.with_name("schemathesis_hooks.py")
HELD_S = 2.0
STREAMS = "(/events|/models/sse)$"  # they do not end
# What is asked of models is answered by their servers, not by the daemon.
ASKED_OF_MODELS = tuple(word for tag in TAGS.values() for word in ("--exclude-tag", tag))
MODELS = {
    "a": model(3000, fake={"load_s": 0.05}),
    "qwen3-vl-30b": model(3000, fake={"load_s": 0.05}),  # of the document's examples
    "broken": model(10, fake={"fail": "exits"}),
}


@contextmanager
def tidied(daemon, key):
    """Nobody holds a model or breaks a device for long: others would wait for minutes."""
    over = threading.Event()

    def tidy():
        old = set()
        with httpx.Client(base_url=daemon.url, headers=key, trust_env=False, timeout=60) as http:
            while not over.wait(HELD_S):
                http.put("/devices/fake-0/fake", json={"foreign_mb": 0, "fault": None})
                held = {
                    f"{path}/{each['lease_id']}"
                    for path in ("/leases", "/vram/leases")
                    for each in http.get(path).json()["leases"]
                }
                for lease in old & held:
                    http.delete(lease)
                old = held

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        yield
    finally:
        over.set()
        tidying.join()


def test_the_document_and_the_daemon_agree(daemons):
    patience = {"patience_s": 1, "drain_timeout_s": 1, "release_timeout_s": 1}
    daemon = daemons(MODELS, scheduling=patience)
    words = ("--requests-per-minute", "60000", "--max-in-flight", "100")
    key = key_of(daemon, "schemathesis", "--scope", "admin", *words)
    with tidied(daemon, key):
        found = explore(daemon, key)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Traceback" not in daemon.log()
    assert daemon.http.get("/health").status_code == 200
    assert daemon.http.get("/keys", headers=key).status_code == 200, "it has kept its own"


def explore(daemon, key):
    """By that key, which it does not revoke."""
    own = daemon.http.get("/auth/whoami", headers=key).json()["id"]
    return subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("--config-file", SETTINGS, "run", f"{daemon.url}/openapi.json"),
            *("--header", f"Authorization: {key['Authorization']}"),
            *("--seed", SEED, "--max-time", str(SECONDS), "--max-examples", "20"),
            *(
                "--exclude-path-regex",
                STREAMS,
                *ASKED_OF_MODELS,
                "--request-timeout",
                "60",
                "--workers",
                "1",
            ),
            *("--continue-on-failure", "--generation-database", "none", "--no-color"),
            # By some seeds it throws most of its own examples of a path's id away.
            *("--suppress-health-check", "filter_too_much"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=daemon.directory,
        env=daemon.environment | {"SCHEMATHESIS_HOOKS": str(HOOKS), "SCHEMATHESIS_OWN_KEY": own},
        timeout=SECONDS + 120,
    )
