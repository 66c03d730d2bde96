"""Workflows: every file of `workflows/`, executed by a real n8n against the real daemon."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.daemon import ROOT, config, model
from tests.scenarios.n8n import N8n, Scene, comfyui, scene
from tests.scenarios.tool_model import write_tool_model
from tests.scenarios.world import THREADS

pytestmark = pytest.mark.n8n

QUICK = {"tokens_per_s": 2000}
SERVICES = {name: {"engine": "fake", "runtime": "process"} for name in ("llama-cpp", "rehearsal")}


def catalogue(**changes: Any) -> dict[str, Any]:
    """The models that the workflows name."""
    return {
        "qwen3-vl-30b": model(17408, fake=QUICK, priority=10) | {"service": "llama-cpp"},
        "wan2.1-14b": model(28672, fake=QUICK),
        "ovi": model(22528, fake=QUICK),
    } | changes


@pytest.fixture
def scenes(tmp_path: Path, n8n: N8n) -> Iterator[Callable[..., Scene]]:
    """Start a daemon with these models, and have n8n call it."""
    n8n.hosts.clear()
    with ExitStack() as stack:

        def start(models: dict[str, Any] | None = None, **sections: Any) -> Scene:
            settings = config(models or catalogue(), **({"services": SERVICES} | sections))
            return stack.enter_context(scene(tmp_path, settings, n8n))

        yield start


def test_seed_workflow_runs_in_n8n(scenes):
    """The card is full of the video model: it leaves, the chat model answers and leaves too."""
    here = scenes()
    here.daemon.load("wan2.1-14b")
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert run.nodes == [
        "Start",
        "Status",
        "VRAM short?",
        "Unload wan2.1-14b",
        "Load qwen3-vl-30b",
        "Chat",
        "Process",
        "Unload qwen3-vl-30b",
    ]
    assert run.output("Status")["free_mb"] == 4096
    assert run.output("Unload wan2.1-14b")["status"] == "unloaded"
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")
    assert run.output("Unload qwen3-vl-30b")["freed_mb"] == 17408
    assert here.daemon.loaded() == {}


def test_seed_workflow_leaves_the_video_model_where_there_is_room(scenes):
    here = scenes(devices={"fake": [{"name": "Fake 64 GB", "total_mb": 65536}]})
    here.daemon.load("wan2.1-14b")
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert "Unload wan2.1-14b" not in run.nodes
    assert here.daemon.loaded() == {"wan2.1-14b": "loaded"}


@pytest.mark.parametrize("name", ["compose-gpu.yaml", "compose-cpu.yaml"])
def test_seed_workflow_runs_with_the_configurations_of_the_stack(scenes, name):
    """Every name that it calls is there; only what runs the models is a stand-in."""
    said = yaml.safe_load((ROOT / "deploy" / name).read_text())
    models = {called: each | {"fake": QUICK} for called, each in said["models"].items()}
    services = {each: {"engine": "fake", "runtime": "process"} for each in said["services"]}
    short = {"fake": [{"name": "Fake 17 GB", "total_mb": 17990}]}
    here = scenes(models, services=services, devices=short)
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert run.output("Unload wan2.1-14b")["status"] == "not_loaded"
    assert run.output("Process")["answer"]
    assert run.output("Unload qwen3-vl-30b")["status"] == "unloaded"
    assert here.daemon.loaded() == {}


def test_n8n_error_branch(scenes):
    """Too large for the machine: no second try, and the reason as the orchestrator gave it."""
    here = scenes(catalogue(ovi=model(90000)))
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    assert run.nodes == ["Start", "Load", "Read the refusal", "Worth another try?", "Explain"]
    told = run.output("Explain")
    assert (told["ok"], told["code"], told["status"]) == (False, "does_not_fit", 507)
    assert (told["needed_mb"], told["available_mb"]) == (90000, 32768)
    assert "Retrying will not help" in told["remedy"]


def test_n8n_error_branch_comes_back_when_it_was_told_to(scenes):
    """The load takes longer than the caller waits: 503, a pause as long as told, and it is there."""
    here = scenes(catalogue(ovi=model(22528, fake=QUICK | {"load_s": 13})))
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    refusal = run.output("Read the refusal")
    assert (refusal["status"], refusal["code"]) == (503, "load_deadline")
    assert 1 <= refusal["retry_after_seconds"] <= 4, "what is left of the load"
    assert (run.times("Load"), run.times("Wait as told")) == (2, 1)
    assert run.output("Success")["endpoint"] == here.daemon.endpoint("ovi")
    assert len(here.daemon.decisions("load")) == 1, "the second call joined the first one's load"


def test_n8n_error_branch_says_when_nobody_answers(scenes):
    here = scenes()
    here.daemon.kill()
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    assert run.output("Explain")["code"] == "no_answer"
    assert "ECONNREFUSED" in run.output("Explain")["why"]


def test_n8n_async_load(scenes):
    here = scenes(catalogue(**{"qwen3-vl-30b": slow(5)}))
    run = here.execute("vram-async-load")
    assert run.succeeded, run.text
    assert run.output("Begin load")["status"] in ("queued", "loading")
    assert run.times("Ask") >= 2, "it was asked for until it was there"
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")
    assert run.output("Release")["status"] == "unloaded"


def test_n8n_async_load_tells_why_it_failed(scenes):
    here = scenes(catalogue(**{"qwen3-vl-30b": slow(1, fail="exits")}))
    run = here.execute("vram-async-load")
    assert not run.succeeded
    assert run.nodes[-1] == "Failed"
    assert "qwen3-vl-30b" in run.error["message"]


@pytest.mark.parametrize("workflow", ["vram-async-load", "vram-vision", "vram-tools"])
def test_n8n_gives_the_model_back_when_its_server_fails(scenes, workflow):
    """At once, and not when the lease runs out: others may want the room."""
    here = scenes()
    here.llama_cpp.broken = True
    run = here.execute(workflow)
    assert not run.succeeded
    assert run.nodes[-3:] == ["Read the failure", "Release after the failure", "Failed"]
    assert run.output("Release after the failure")["status"] == "unloaded"
    assert len(run.output("Read the failure")["why"]) > 10, "in words"
    # n8n puts words of its own in the place of some of the network's.
    assert re.search("has been released|connection to the server was closed", run.error["message"])
    assert here.daemon.http.get("/leases").json()["leases"] == []
    assert here.daemon.loaded() == {}


def slow(load_s: float, **more: Any) -> dict[str, Any]:
    return model(17408, fake=QUICK | {"load_s": load_s} | more) | {"service": "llama-cpp"}


def test_n8n_asks_about_a_picture(scenes):
    here = scenes()
    run = here.execute("vram-vision")
    assert run.succeeded, run.text
    assert "What is in this picture?" in run.output("Process")["answer"]
    assert b'"url":"data:image/png;base64,iVBORw0KGgo' in here.llama_cpp.asked
    assert run.output("Release")["status"] == "unloaded"


def test_n8n_lets_a_real_model_call_a_tool(scenes, tmp_path):
    """With the real engine: a model that is made to call a tool calls it, and gets its result."""
    write_tool_model(tmp_path / "tools.gguf")
    file = {"service": "llama-cpp", "file": "tools.gguf", "context_size": 2048, "vram_mb": 300}
    file |= {"threads": THREADS}
    here = scenes(
        {"qwen3-vl-30b": file},
        services={
            "llama-cpp": {"engine": "xllamacpp", "runtime": "process", "models_dir": str(tmp_path)}
        },
        devices={"source": "host", "fake": []},
    )
    run = here.execute("vram-tools")
    assert run.succeeded, run.text
    call = run.output("Ask")["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "vram_status"
    handed_over = run.output("Hand over the result")["messages"][-1]
    assert handed_over["tool_call_id"] == call["id"]
    assert json.loads(handed_over["content"])["total_mb"] == here.daemon.status()["total_mb"]
    assert run.output("Process")["answer"]


def test_n8n_makes_room_for_comfyui_and_hands_it_back(scenes):
    here = scenes()
    here.daemon.load("ovi")
    with comfyui(looks=3) as comfy:
        here.n8n.hosts["comfyui"] = comfy.address
        run = here.execute("vram-comfyui-room")
    assert run.succeeded, run.text
    assert run.output("Lease VRAM")["evicted"] == ["ovi"]
    assert run.times("Renew the lease") >= 2
    assert run.output("Images")["outputs"]["2"]["images"]
    assert comfy.freed
    assert here.daemon.status()["leases"] == []


def test_n8n_hands_the_room_back_when_comfyui_is_not_there(scenes):
    here = scenes()
    here.n8n.hosts["comfyui"] = "127.0.0.1"  # where nobody listens at its port
    run = here.execute("vram-comfyui-room")
    assert not run.succeeded
    assert "handed back" in run.error["message"]
    assert here.daemon.status()["leases"] == []
