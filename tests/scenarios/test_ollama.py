"""Ollama's own client for Python against the real daemon: every route, as programs use it."""

import asyncio
import base64
import threading
import time
from datetime import datetime

import httpx
import ollama
import pytest

from tests.scenarios.daemon import PATIENCE_S, model

BIG = 20000
HELLO = [{"role": "user", "content": "hello"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def client_of(daemon):
    return ollama.Client(daemon.url, trust_env=False, timeout=PATIENCE_S)


def slow(**more):
    """Some hundred tokens take seconds."""
    return model(BIG, fake={"load_s": 0.1, "tokens_per_s": 20}, **more)


def until(holds, what="it"):
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def history(daemon):
    return daemon.http.get("/requests").json()["ended"]


def test_a_chat_loads_its_model_and_says_what_that_took(daemons):
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    with client_of(daemon) as client:
        told = client.chat("a", HELLO)
        assert told.message.role == "assistant"
        assert told.message.content.startswith("This is a (pid")
        assert "You said: hello" in told.message.content
        assert (told.model, told.done, told.done_reason) == ("a", True, "stop")
        assert told.load_duration >= 100_000_000
        assert told.total_duration > told.load_duration
        assert (told.prompt_eval_count, told.eval_count) == (1, 16)
        assert told.eval_duration > 0
        datetime.fromisoformat(told.created_at)
        warm = client.chat("a:latest", HELLO)
        assert warm.model == "a:latest"
        assert warm.load_duration == 0
        assert client.chat("b", HELLO).message.content.startswith("This is b")
        assert daemon.loaded() == {"b": "loaded"}


def test_a_stream_comes_word_by_word(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        parts = list(client.chat("a", HELLO, stream=True, options={"num_predict": 9}))
        assert len(parts) == 10
        assert [part.done for part in parts] == [False] * 9 + [True]
        assert "You said: hello" in "".join(part.message.content for part in parts)
        assert (parts[-1].eval_count, parts[-1].done_reason) == (9, "stop")
    said = daemon.http.post("/api/chat", json={"model": "a", "messages": HELLO})
    assert said.headers["content-type"] == "application/x-ndjson"
    assert said.headers["x-model"] == "a"


def test_both_of_its_clients(daemons):
    daemon = daemons({"a": model(BIG)})

    async def scene():
        async with ollama.AsyncClient(daemon.url, trust_env=False) as client:
            whole, parts = await asyncio.gather(
                client.chat("a", HELLO), client.generate("a", "hi", stream=True)
            )
            return whole.message.content, "".join([part.response async for part in parts])

    whole, streamed = asyncio.run(scene())
    assert "hello" in whole
    assert "hi" in streamed


def test_tools_are_called_and_answered(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        for told in (
            client.chat("a", HELLO, tools=[WEATHER]).message,
            next(
                part.message
                for part in client.chat("a", HELLO, tools=[WEATHER], stream=True)
                if part.message.tool_calls
            ),
        ):
            [call] = told.tool_calls
            assert call.function.name == "weather"
            assert call.function.arguments == {"city": "hello"}
        answered = [*HELLO, told, {"role": "tool", "content": "rain", "tool_name": "weather"}]
        assert "rain" in client.chat("a", answered, tools=[WEATHER]).message.content


def test_pictures_thoughts_and_forms_arrive(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        seen = client.chat("a", [{"role": "user", "content": "see", "images": [PNG]}])
        assert "see [image/png]" in seen.message.content
        assert "[image/png]" in client.generate("a", "see", images=[PNG]).response
        thought = client.chat("a", HELLO, think=True)
        assert thought.message.thinking
        parts = list(client.generate("a", "hi", think=True, stream=True))
        assert any(part.thinking for part in parts)
        assert client.chat("a", HELLO, think=False).message.thinking is None
        assert client.chat("a", HELLO, format={"type": "object"}, think="low").done


def test_a_prompt_raw_or_filled_in(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        assert "hi" in client.generate("a", "hi", system="be brief").response
        raw = client.generate("a", "[INST] hi", raw=True, options={"num_predict": 8})
        assert ("[INST] hi" in raw.response, raw.eval_count) == (True, 8)
        for filled in (
            client.generate("a", "def f(", "return"),
            list(client.generate("a", "def f(", "return", stream=True))[-1],
        ):
            assert (filled.done_reason, filled.eval_count) == ("stop", 16)
        with pytest.raises(ollama.ResponseError, match="raw: true") as refused:
            client.generate("a", "hi", template="{{ .Prompt }}")
        assert refused.value.status_code == 422


def test_embeddings(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        told = client.embed("a", ["one", "two words"], dimensions=4)
        assert [len(vector) for vector in told.embeddings] == [4, 4]
        assert told.prompt_eval_count == 3
        assert sum(number**2 for number in told.embeddings[0]) == pytest.approx(1)
        assert len(client.embed("a", "one").embeddings[0]) == 8
        assert client.embed("a", "").embeddings == []
        assert len(client.embeddings("a", "one").embedding) == 8
        assert client.embeddings("a", "").embedding == []


def test_texts_that_are_too_long_are_cut_unless_they_must_not_be(daemons):
    daemon = daemons({"a": model(BIG, context_size=64)})
    most = 62  # two are left for what a server puts round a text
    long = " ".join(map(str, range(100)))
    cut = " ".join(map(str, range(most)))
    with client_of(daemon) as client:
        told = client.embed("a", ["short", long])
        assert told.embeddings == client.embed("a", ["short", cut]).embeddings
        assert told.prompt_eval_count == 1 + most
        assert client.embeddings("a", long).embedding == client.embeddings("a", cut).embedding
        with pytest.raises(ollama.ResponseError, match="too large to process") as refused:
            client.embed("a", long, truncate=False)
        assert refused.value.status_code == 500


def test_an_empty_prompt_loads_and_lets_go(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        assert client.generate("a").done_reason == "load"
        assert daemon.loaded() == {"a": "loaded"}
        assert client.generate("a", keep_alive=0).done_reason == "unload"
        daemon.until_loaded()
        assert client.chat("a", []).done_reason == "load"
        [loaded] = list(client.generate("a", stream=True))
        assert loaded.done_reason == "load"
        assert client.chat("a", [], keep_alive=0).done_reason == "unload"
        daemon.until_loaded()
        assert client.generate("a", keep_alive=0).done_reason == "unload", "it is gone already"


def test_keep_alive_says_how_long_it_stays(daemons):
    daemon = daemons({"a": model(BIG), "b": model(100, ttl_seconds=3000)})

    def left_s(name):
        """Told once it is idle."""
        status = daemon.until(lambda now: now["loaded_models"][name]["expires_at"], "it is idle")
        expires = datetime.fromisoformat(status["loaded_models"][name]["expires_at"])
        return (expires - datetime.fromisoformat(status["now"])).total_seconds()

    with client_of(daemon) as client:
        client.chat("a", HELLO)
        assert daemon.status()["loaded_models"]["a"]["expires_at"] is None
        client.chat("a", HELLO, keep_alive="5m")
        assert 250 < left_s("a") <= 300
        client.generate("a", "hi", keep_alive=-1)
        assert left_s("a") > 300 * 86400, "a year is for ever"
        client.generate("b", "hi", keep_alive="1h30m")
        assert 5300 < left_s("b") <= 5400
        client.chat("a", HELLO)
        assert left_s("a") > 300 * 86400, "who says nothing changes nothing"
        client.chat("a", HELLO, keep_alive=0)
        daemon.until_loaded(b="loaded")
        with pytest.raises(ollama.ResponseError, match="keep_alive should be seconds"):
            client.chat("a", HELLO, keep_alive="soon")


def test_a_model_that_is_to_stay_leaves_for_another_that_needs_its_room(daemons):
    """Home Assistant says -1 unless told otherwise."""
    daemon = daemons({"a": model(BIG), "b": model(BIG)})
    with client_of(daemon) as client:
        client.chat("a", HELLO, keep_alive=-1)
        assert client.chat("b", HELLO).done
        assert daemon.loaded() == {"b": "loaded"}


def test_a_larger_context_is_loaded_and_a_smaller_one_is_served_as_it_is(daemons):
    daemon = daemons({"a": model(BIG)})

    def context():
        return daemon.status()["loaded_models"]["a"]["serving"]["context_size"]

    with client_of(daemon) as client:
        first = client.chat("a", HELLO, options={"num_ctx": 2048}).message.content
        assert context() == 4096
        client.chat("a", HELLO, options={"num_ctx": 8192})
        assert context() == 8192
        again = client.chat("a", HELLO, options={"num_ctx": 4096}).message.content
        assert context() == 8192
        assert again != first, "another process"
        assert client.chat("a", HELLO).message.content == again


def test_options_that_come_to_nothing_are_named(daemons):
    daemon = daemons({"a": model(BIG)})
    body = {"model": "a", "prompt": "x", "options": {"num_gpu": 1, "low_vram": True, "x\r\ny": 1}}
    for stream in (False, True):
        answer = daemon.post("/api/generate", body | {"stream": stream})
        assert answer.headers["x-ignored-options"] == "num_gpu, low_vram, x??y"


def test_what_there_is_and_what_runs(daemons):
    daemon = daemons({"a": model(BIG), "org-b:7b": model(100)})
    with client_of(daemon) as client:
        assert [each.model for each in client.list().models] == ["a:latest", "org-b:7b"]
        assert client.ps().models == []
        client.generate("org-b:7b")
        [running] = client.ps().models
        assert (running.model, running.name) == ("org-b:7b", "org-b:7b")
        assert running.size_vram == running.size == 100 << 20
        assert running.context_length == 4096
        assert len(running.digest) == 64
        shown = client.show("a")
        assert shown.capabilities == ["completion"]
        assert shown.modelinfo == {}
        assert daemon.http.get("/api/version").json()["version"].count(".") == 2
        with pytest.raises(ollama.ResponseError) as refused:
            client.show("nobody")
        assert refused.value.status_code == 404


def test_the_root_says_that_it_is_running_to_all_but_browsers(daemons):
    daemon = daemons({"a": model(BIG)})
    assert daemon.http.get("/").text == "Ollama is running"
    head = daemon.http.head("/")
    assert (head.status_code, head.text) == (200, "")
    assert daemon.http.head("/api/tags").status_code == 200
    page = daemon.http.get("/", headers={"Accept": "text/html,*/*"})
    assert page.text != "Ollama is running"


def test_errors_are_ollamas_with_our_status(daemons):
    daemon = daemons(
        {"a": model(BIG), "huge": model(60000), "bad": model(100, fake={"fail": "exits"})}
    )
    with client_of(daemon) as client:
        for name, status, says in (
            ("nobody", 404, "no model 'nobody'"),
            ("huge", 507, "60000"),
            ("bad", 502, ""),
        ):
            for ask in (
                lambda n=name: client.chat(n, HELLO),
                lambda n=name: list(client.generate(n, "hi", stream=True)),
                lambda n=name: client.embed(n, "hi"),
            ):
                with pytest.raises(ollama.ResponseError) as refused:
                    ask()
                assert says in refused.value.error
                if name != "bad":  # its breaker opens meanwhile
                    assert refused.value.status_code == status
    for body in (b"", b"{", b"[]", b'{"model": 3}', b"\xff" * 100, b'{"messages": []}'):
        for path in ("chat", "generate", "embed", "embeddings", "show", "pull"):
            answer = daemon.http.post(
                f"/api/{path}", content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 422, (path, body)
            assert isinstance(answer.json()["error"], str)
    wrong = daemon.http.post("/api/chat", content="model=a")
    assert (wrong.status_code, wrong.json()["code"]) == (415, "not_json")
    assert daemon.post("/api/create", {"model": "x"}).status_code == 404
    assert "Traceback" not in daemon.log()


def test_a_stream_that_waits_hears_lines_that_say_nothing(daemons):
    daemon = daemons({"a": model(BIG, fake={"load_s": 1.0})}, gateway={"heartbeat_s": 0.1})
    with client_of(daemon) as client:
        parts = list(client.chat("a", HELLO, stream=True))
        assert parts[0].message.content == parts[1].message.content == ""
        assert not parts[0].done
        assert "hello" in "".join(part.message.content for part in parts)
        list(client.generate("a", keep_alive=0, stream=True))


def test_an_error_in_a_stream_that_has_begun_is_its_last_line(daemons):
    daemon = daemons(
        {"bad": model(100, fake={"load_s": 1, "fail": "never_ready"})},
        gateway={"heartbeat_s": 0.1, "wait_s": 1.0},
    )
    with client_of(daemon) as client:
        parts = client.generate("bad", "hi", stream=True)
        assert next(parts).response == ""
        with pytest.raises(ollama.ResponseError) as refused:
            list(parts)
        assert refused.value.error


def test_a_server_that_dies_in_its_answer_ends_the_stream_with_an_error(daemons):
    daemon = daemons({"a": slow()})
    with client_of(daemon) as client:
        parts = client.chat("a", HELLO, stream=True, options={"num_predict": 2000})
        assert next(parts).message.content
        [server] = daemon.servers("a")
        server.kill()
        with pytest.raises(ollama.ResponseError, match="in the middle of its answer"):
            list(parts)


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_ends_the_generation(daemons, stream):
    daemon = daemons({"a": slow()})
    daemon.load("a")
    body = {"model": "a", "prompt": "hi", "stream": stream, "options": {"num_predict": 2000}}

    def busy():
        slots = httpx.get(f"{daemon.endpoint('a')}/slots", trust_env=False).json()
        return any(slot["is_processing"] for slot in slots)

    leave = threading.Event()

    def ask():
        with httpx.Client(timeout=0.5 if not stream else PATIENCE_S, trust_env=False) as http:
            try:
                with http.stream("POST", f"{daemon.url}/api/generate", json=body) as answer:
                    lines = answer.iter_lines()
                    next(lines)
                    leave.wait(PATIENCE_S)
            except httpx.TimeoutException:
                pass

    asking = threading.Thread(target=ask)
    asking.start()
    until(busy, "it is asked")
    leave.set()
    asking.join()
    until(lambda: not busy(), "the generation ends")
    ended = history(daemon)[0]
    assert (ended["outcome"], ended["protocol"]) == ("client_gone", "ollama")
    daemon.unload("a")


def test_requests_are_in_the_history(daemons):
    daemon = daemons({"a": model(BIG)})
    with client_of(daemon) as client:
        client.chat("a:latest", HELLO)
    [entry] = history(daemon)
    assert (entry["path"], entry["model"], entry["asked"]) == ("/api/chat", "a", "a:latest")
    assert (entry["tokens_in"], entry["tokens_out"]) == (1, 16)
    assert entry["outcome"] == "answered"


def test_many_at_once_wait_for_their_turn(daemons):
    daemon = daemons({"a": model(BIG, fake={"load_s": 0.3})})

    async def scene():
        async with ollama.AsyncClient(daemon.url, trust_env=False) as client:
            return await asyncio.gather(*(client.chat("a", HELLO) for _ in range(20)))

    assert all(told.done for told in asyncio.run(scene()))


def test_a_model_of_the_api_can_be_taken_out(daemons):
    daemon = daemons({"a": model(BIG)})
    assert daemon.http.put("/models/b", json=model(100)).status_code == 200
    with client_of(daemon) as client:
        client.generate("b")
        with pytest.raises(ollama.ResponseError, match="resident") as refused:
            client.delete("b")
        assert refused.value.status_code == 409
        client.generate("b", keep_alive=0)
        daemon.until_loaded()
        assert client.delete("b:latest").status == "success"
        assert [each.model for each in client.list().models] == ["a:latest"]
        with pytest.raises(ollama.ResponseError, match="configuration file"):
            client.delete("a")
        with pytest.raises(ollama.ResponseError, match="no model"):
            client.delete("b")
