"""Real clients of OpenAI's and Anthropic's APIs, pointed at the real daemon with a real model."""

import base64
import json
import threading
import time

import anthropic
import openai
import pytest

from tests.scenarios.backend import backend
from tests.scenarios.daemon import Daemon, model
from tests.scenarios.test_real_model import LOCAL, smollm

# One pixel: the smallest picture that is one.
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
        "000000020001e221bc330000000049454e44ae426082"
    )
).decode()
QUESTION = "What is the capital of France? Answer in one word."


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A real model, and a stand-in that makes embeddings: both together do not fit."""
    settings = {
        "state_dir": "./state",
        "devices": {"source": "host", "headroom_mb": 0, "budget_mb": 450},
        "scheduling": {"min_residency_s": 0},
        "gateway": {"heartbeat_s": 0.1, "default_model": "chat"},
        "services": {"local": LOCAL, "rehearsal": {"engine": "fake", "runtime": "process"}},
        "models": {
            "chat": smollm(aliases=["gpt-4o-mini", "claude-sonnet"], jinja=True),
            "embed": model(300),
        },
    }
    directory = tmp_path_factory.mktemp("clients")
    started = Daemon(directory, settings)
    try:
        started.start()
        yield started
        assert "Traceback" not in started.log()
    finally:
        started.clean_up()


@pytest.fixture
def gpt(daemon):
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(daemon):
    with anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0) as client:
        yield client


def messages(content=QUESTION):
    return [{"role": "user", "content": content}]


def until_idle(daemon):
    deadline = time.monotonic() + 20
    while daemon.http.get("/requests").json()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- OpenAI ----------------------------------------------------------------------------------------


def test_openai_chats_with_a_model_that_was_not_loaded(daemon, gpt):
    if "chat" in daemon.loaded():
        daemon.unload("chat")
    said = gpt.chat.completions.create(
        model="gpt-4o-mini", messages=messages(), max_tokens=16, temperature=0
    )
    assert said.choices[0].message.content
    assert said.usage.completion_tokens > 0
    figures = daemon.http.get("/requests").json()["ended"][0]
    assert (figures["tokens_in"], figures["tokens_out"]) == (
        said.usage.prompt_tokens,
        said.usage.completion_tokens,
    )
    assert figures["model"] == "chat"


def test_openai_streams_from_a_cold_model(daemon, gpt):
    """The comments that it hears while the model loads disturb nothing."""
    if "chat" in daemon.loaded():
        daemon.unload("chat")
    pieces = gpt.chat.completions.create(
        model="chat", messages=messages(), max_tokens=12, stream=True, temperature=0
    )
    text = "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)
    assert text


def test_openai_responses_with_its_events(gpt):
    said = gpt.responses.create(model="chat", input=QUESTION, max_output_tokens=12)
    assert said.output_text
    stream = gpt.responses.create(model="chat", input=QUESTION, max_output_tokens=12, stream=True)
    assert "response.completed" in {event.type for event in stream}


def test_openai_tools_and_pictures_pass_both_ways(daemons):
    """To a server that sees: what it is sent is what the client meant, and back."""
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    called = {"name": "weather", "arguments": '{"city": "Paris"}'}
    answer = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": called}],
    }
    choice = {"index": 0, "finish_reason": "tool_calls", "message": answer}
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }
    picture = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    with backend() as there:
        there.answers = [json.dumps(whole).encode()]
        daemon = daemons(
            {"sees": {"service": "elsewhere", "vram_mb": 10}},
            services={"elsewhere": there.service()},
        )
        with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="any", max_retries=0) as client:
            said = client.chat.completions.create(
                model="sees", messages=messages(picture), tools=[tool]
            )
        sent = json.loads(there.heard[-1][3])
    assert said.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'
    assert (sent["tools"], sent["messages"][0]["content"]) == ([tool], picture)


def test_openai_embeddings_swap_the_model(daemon, gpt):
    made = gpt.embeddings.create(model="embed", input=["hello", "world"])
    assert [len(one.embedding) > 2 for one in made.data] == [True, True]
    assert daemon.loaded()["embed"] == "loaded"
    assert gpt.completions.create(model="chat", prompt="Once", max_tokens=4).choices[0].text


def test_openai_hears_errors_with_code_and_remedy(gpt):
    with pytest.raises(openai.NotFoundError) as unknown:
        gpt.chat.completions.create(model="nothing", messages=messages())
    assert unknown.value.code == "unknown_model"
    assert "GET /models" in unknown.value.body["message"]
    with pytest.raises(openai.BadRequestError) as wrong:
        gpt.embeddings.create(model="chat", input="x")
    assert wrong.value.code == "cannot"
    picture = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    with pytest.raises(openai.BadRequestError) as blind:
        gpt.chat.completions.create(model="chat", messages=messages(picture))
    assert blind.value.code == "cannot"


def test_openai_lists_models_and_finds_one(gpt):
    assert {one.id for one in gpt.models.list()} == {"chat", "embed"}
    assert gpt.models.retrieve("gpt-4o-mini").id == "chat"


def test_openai_goes_in_mid_stream(daemon, gpt):
    stream = gpt.chat.completions.create(
        model="chat", messages=messages("Tell a long story."), max_tokens=2000, stream=True
    )
    next(iter(stream))
    stream.close()
    until_idle(daemon)
    assert daemon.http.get("/requests").json()["ended"][0]["outcome"] == "client_gone"
    slots = daemon.http.get("/slots?model=chat").json()
    deadline = time.monotonic() + 10
    while any(slot["is_processing"] for slot in slots):
        assert time.monotonic() < deadline
        slots = daemon.http.get("/slots?model=chat").json()


def test_llama_cpps_own_routes(daemon):
    tokens = daemon.post("/tokenize", {"model": "chat", "content": "hello world"}).json()["tokens"]
    text = daemon.post("/detokenize", {"model": "chat", "tokens": tokens}).json()["content"]
    assert text.strip() == "hello world"
    assert daemon.http.get("/props?model=chat").status_code == 200


# --- Anthropic -------------------------------------------------------------------------------------


def test_anthropic_talks_and_counts(claude):
    said = claude.messages.create(model="claude-sonnet", max_tokens=12, messages=messages())
    assert said.content[0].text
    assert said.usage.output_tokens > 0
    counted = claude.messages.count_tokens(model="claude-sonnet", messages=messages())
    assert counted.input_tokens > 5


def test_anthropic_streams_from_a_cold_model(daemon, claude):
    if "chat" in daemon.loaded():
        daemon.unload("chat")
    with claude.messages.stream(model="chat", max_tokens=12, messages=messages()) as stream:
        text = "".join(stream.text_stream)
    assert text
    figures = daemon.http.get("/requests").json()["ended"][0]
    assert figures["tokens_out"] > 0


def test_anthropic_hears_errors(claude):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.messages.create(model="nothing", max_tokens=1, messages=messages())
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert "GET /models" in unknown.value.body["error"]["message"]


# --- side by side ----------------------------------------------------------------------------------


def test_clients_of_both_models_take_turns(daemon):
    """Two that cannot be loaded together: all are answered, whoever had to wait."""
    answers = []

    def one(number):
        with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="any", max_retries=0) as client:
            if number % 2:
                made = client.embeddings.create(model="embed", input="hello")
                answers.append(bool(made.data[0].embedding))
            else:
                said = client.completions.create(model="chat", prompt="Once", max_tokens=8)
                answers.append(bool(said.choices[0].text))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8
