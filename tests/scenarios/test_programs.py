"""Programs that an operator names, under the real daemon: as processes, and in containers."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contracts import docker_parts as parts
from tests.scenarios.containers import Engine
from tests.scenarios.daemon import ROOT, Daemon, config

SERVER = f"{sys.executable} -P -m orchestrator.stand_in.server --model ${{MODEL}}"
COMMAND = f"{SERVER} --host ${{HOST}} --port=${{PORT}} --load-s 0.1 --tokens-per-s 10"


def served(directory, services, models, **environment):
    daemon = Daemon(directory, config(models, services=services))
    daemon.environment |= environment
    daemon.start()
    return daemon


def chat(daemon, name, max_tokens=2):
    order = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
    return daemon.http.post("/v1/chat/completions", json=order | {"max_tokens": max_tokens})


def test_a_command_is_a_model_with_its_limit_its_use_and_its_turn(tmp_path):
    programs = {"engine": "command", "command": COMMAND, "env": [f"PYTHONPATH={ROOT}"]}
    services = {"told": programs | {"metrics": "/metrics"}, "silent": programs}
    models = {
        "one": {"service": "told", "vram_mb": 20_000, "concurrency": 1},
        "two": {"service": "silent", "vram_mb": 20_000},
        "gone": {"service": "told", "vram_mb": 1, "command": ["no-such-program", "${PORT}"]},
    }
    daemon = served(tmp_path, services, models)
    try:
        assert chat(daemon, "one").status_code == 200
        began_s = time.monotonic()
        with ThreadPoolExecutor(2) as callers:  # half a second each, one after the other
            answers = list(callers.map(lambda _: chat(daemon, "one", max_tokens=5), range(2)))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert time.monotonic() - began_s >= 1.0
        assert "(pid " in chat(daemon, "two").json()["choices"][0]["message"]["content"]
        assert set(daemon.http.get("/models/status").json()["loaded_models"]) == {"two"}
        told = {name: daemon.http.get(f"/models/{name}").json()["tells_use"] for name in models}
        assert told == {"one": True, "two": False, "gone": True}
        refused = daemon.http.post("/models/load", json={"model": "gone"})
        assert refused.json()["cause"] == "binary_missing"
        loaded = daemon.http.get("/models/status").json()["loaded_models"]
        assert loaded["two"]["status"] == "loaded", "nobody left for it"
        assert "Traceback" not in daemon.log()
    finally:
        daemon.clean_up()


def test_a_caller_of_the_api_names_no_command(tmp_path):
    services = {"programs": {"engine": "command", "command": COMMAND}}
    daemon = served(tmp_path, services, {})
    try:
        body = {"service": "programs", "vram_mb": 1, "command": ["sh", "-c", "true ${PORT}"]}
        answer = daemon.http.put("/models/evil", json=body)
        assert answer.status_code == 422
        assert "can only be set in the configuration file" in answer.text
    finally:
        daemon.clean_up()


@pytest.mark.docker
def test_a_command_runs_in_containers_of_an_image(tmp_path):
    engine = Engine(parts.need_engine())
    image = parts.import_image(engine.url)
    services = {"box": {"engine": "command", "runtime": "docker", "image": image}}
    command = ["/sleeper", "--serve", "${PORT}"]
    models = {
        "one": {"service": "box", "vram_mb": 20_000, "command": command},
        "two": {"service": "box", "vram_mb": 20_000, "command": [*command, "--lines", "2"]},
    }
    daemon = served(tmp_path, services, models, DOCKER_HOST=engine.url)
    try:
        for name in models:
            answer = daemon.http.post("/models/load", json={"model": name})
            assert answer.status_code == 200, answer.text
            assert daemon.http.get(f"/upstream/{name}/v1/any").json() == {"status": "ok"}
        assert set(daemon.http.get("/models/status").json()["loaded_models"]) == {"two"}
        assert "Traceback" not in daemon.log()
    finally:
        daemon.clean_up()
        engine.clean_up(daemon)
        engine.close()
