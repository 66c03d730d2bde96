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

SECONDS = int(os.getenv("SCHEMA_SECONDS", "25"))
SEED = os.getenv("SCHEMA_SEED", "1")
SETTINGS = Path(__file__).parents[1] / "tools" / "schemathesis.toml"
HELD_S = 2.0
STREAMS = "(/events|/models/sse)$"  # they do not end
# What is asked of models is answered by their servers, not by the daemon.
# Keys neither: the first one that is made shuts out who has none.
LEFT_OUT = (*TAGS.values(), "keys")
ASKED_OF_MODELS = tuple(word for tag in LEFT_OUT for word in ("--exclude-tag", tag))
MODELS = {
    "a": model(3000, fake={"load_s": 0.05}),
    "qwen3-vl-30b": model(3000, fake={"load_s": 0.05}),  # of the document's examples
    "broken": model(10, fake={"fail": "exits"}),
}


@contextmanager
def tidied(daemon):
    """Nobody holds a model or breaks a device for long: others would wait for minutes."""
    over = threading.Event()

    def tidy():
        old = set()
        with httpx.Client(base_url=daemon.url, trust_env=False, timeout=60) as http:
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
    with tidied(daemon):
        found = explore(daemon)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Traceback" not in daemon.log()
    assert daemon.http.get("/health").status_code == 200


def explore(daemon):
    return subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("--config-file", SETTINGS, "run", f"{daemon.url}/openapi.json"),
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
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=daemon.directory,
        timeout=SECONDS + 120,
    )
