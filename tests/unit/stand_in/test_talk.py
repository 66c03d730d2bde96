import json
import os
import threading
import time

import pytest

from orchestrator.stand_in.http import ClientGone, Request
from orchestrator.stand_in.talk import RequestRefused, Talk


class Listener:
    """A client that hears everything, in memory; it leaves after `patience` waits."""

    def __init__(self, patience: int = 1000) -> None:
        self.status = 0
        self.body = None
        self.events: list = []
        self.waited_s = 0.0
        self._patience = patience

    def answer(self, status, body, content_type="application/json"):
        self.status, self.body = status, body

    def begin_stream(self):
        self.status = 200

    def send_event(self, event):
        self.events.append(event)

    def end_stream(self):
        self.body = "ended"

    def wait(self, seconds):
        self.waited_s = max(self.waited_s, seconds)
        self._patience -= 1
        if self._patience < 0:
            raise ClientGone
        time.sleep(0)


def talk(**changes) -> Talk:
    settings = {"slots": 2, "context": 4096, "tokens_per_s": 1000.0, "max_tokens": None}
    talk = Talk("smol", **(settings | changes))
    talk.ready.set()
    return talk


def ask(talk: Talk, path: str, order=None, method="POST", listener=None) -> Listener:
    listener = listener or Listener()
    body = order if isinstance(order, bytes) else json.dumps(order).encode()
    talk.respond(listener, Request(method, path, {}, body))
    return listener


def chat(**changes):
    return {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 3} | changes


def test_an_answer_names_the_model_and_the_process_and_repeats_what_was_said():
    answer = ask(talk(), "/v1/chat/completions", chat()).body
    assert answer["choices"][0]["message"]["content"] == (
        f"This is smol (pid {os.getpid()}). You said: hello there"
    )
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert answer["model"] == "smol"


def test_an_answer_is_as_long_as_it_is_wished():
    for order, count in (
        (chat(max_tokens=40), 40),
        (chat(max_tokens=40, max_completion_tokens=30), 30),
        ({"messages": [{"content": "x"}], "n_predict": 20}, 20),
        ({"messages": [{"content": "x"}]}, 9),
        (chat(max_tokens=-1), 9),
        (chat(max_tokens="many"), 9),
    ):
        body = ask(talk(max_tokens=9), "/v1/chat/completions", order).body
        assert body["usage"]["completion_tokens"] == count


def test_a_stream_says_the_same_piece_by_piece():
    listener = ask(
        talk(),
        "/v1/chat/completions",
        chat(stream=True, max_tokens=10, stream_options={"include_usage": True}),
    )
    *chunks, last, done = listener.events
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert "You said: hello there" in said
    assert len(chunks) == 10
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == 10
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in (*chunks, last)}) == 1


def test_completions_and_parts_of_messages():
    text = ask(talk(), "/v1/completions", {"prompt": "once upon", "max_tokens": 1}).body
    assert text["choices"][0]["text"].endswith("You said: once upon")
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "x"}}]
    answer = ask(talk(), "/v1/chat/completions", {"messages": [{"content": parts}]}).body
    assert "You said: look" in answer["choices"][0]["message"]["content"]


def test_the_same_words_have_the_same_embedding():
    body = ask(talk(), "/v1/embeddings", {"input": ["a", "b", "a"]}).body
    first, second, third = (item["embedding"] for item in body["data"])
    assert first == third != second


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"messages": []}', b'{"messages": ["x"]}'])
def test_a_malformed_order_is_a_400(body):
    with pytest.raises(RequestRefused) as refused:
        ask(talk(), "/v1/chat/completions", body)
    assert refused.value.status == 400


def test_a_conversation_is_put_together_and_cut_into_words():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    prompt = ask(talk(), "/apply-template", {"messages": messages}).body["prompt"]
    assert prompt == "<system> Be brief.\n<user> hello"
    tokens = ask(talk(), "/tokenize", {"content": prompt}).body["tokens"]
    assert len(tokens) == 5
    with pytest.raises(RequestRefused, match="at least one message"):
        ask(talk(), "/apply-template", {"messages": ["hello"]})


def test_unknown_routes_and_a_model_that_still_loads():
    with pytest.raises(RequestRefused) as unknown:
        ask(talk(), "/nowhere", method="GET")
    loading = Talk("smol", slots=1, context=1, tokens_per_s=1, max_tokens=None)
    with pytest.raises(RequestRefused) as early:
        ask(loading, "/health", method="GET")
    assert unknown.value.status == 404
    assert early.value.body["error"] == {
        "code": 503,
        "message": "Loading model",
        "type": "unavailable_error",
    }


def busy_slots(talk: Talk) -> int:
    return sum(slot["is_processing"] for slot in ask(talk, "/slots", method="GET").body)


def test_a_slot_is_busy_while_it_talks_and_free_when_the_client_has_left():
    model = talk(slots=1)
    seen = []

    class Watcher(Listener):
        def wait(self, seconds):
            seen.append(busy_slots(model))
            super().wait(seconds)

    with pytest.raises(ClientGone):
        ask(model, "/v1/completions", {"prompt": "x", "max_tokens": 99}, listener=Watcher(3))
    assert seen == [1, 1, 1, 1]
    assert busy_slots(model) == 0


def test_who_finds_no_slot_waits_for_one_and_may_leave():
    model = talk(slots=1)
    inside, may_end = threading.Event(), threading.Event()

    class Sitter(Listener):
        def wait(self, seconds):
            inside.set()
            may_end.wait(10)

    order = {"prompt": "x", "max_tokens": 1}
    sitter = threading.Thread(
        target=ask, args=(model, "/v1/completions", order), kwargs={"listener": Sitter()}
    )
    sitter.start()
    assert inside.wait(10)
    with pytest.raises(ClientGone):
        ask(model, "/v1/completions", order, listener=Listener(patience=2))
    assert "requests_deferred 0" in ask(model, "/metrics", method="GET").body
    may_end.set()
    sitter.join()
    assert ask(model, "/v1/completions", order).status == 200


def test_counters_grow_with_use_and_never_by_looking():
    model = talk()
    before = ask(model, "/metrics", method="GET").body
    for path in ("/health", "/slots", "/metrics", "/v1/models"):
        ask(model, path, method="GET")
    assert ask(model, "/metrics", method="GET").body == before
    ask(model, "/v1/completions", {"prompt": "a b", "max_tokens": 4})
    after = ask(model, "/metrics", method="GET").body
    assert "llamacpp:prompt_tokens_total 2" in after
    assert "llamacpp:tokens_predicted_total 4" in after


def test_each_token_has_its_time():
    listener = ask(talk(tokens_per_s=1.0), "/v1/completions", {"prompt": "x", "max_tokens": 1})
    assert 0.5 < listener.waited_s <= 1.0


def test_a_picture_is_as_good_as_what_it_claims_to_be():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "see"}, picture]
    answer = ask(talk(), "/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})
    assert "You said: see [image/png]" in answer.body["choices"][0]["message"]["content"]


def test_what_is_between_is_filled_in():
    order = {"input_prefix": "def f(", "input_suffix": "return", "stream": True}
    answer = ask(talk(), "/infill", order)
    assert "def f(…return" in "".join(event["content"] for event in answer.events)
    assert answer.events[-1]["stop"] is True


def test_a_text_longer_than_the_context_is_not_embedded():
    order = {"input": ["a", " ".join("abcd")]}
    with pytest.raises(RequestRefused, match="4 tokens"):
        ask(talk(context=3), "/v1/embeddings", order)
    assert ask(talk(context=4), "/v1/embeddings", order).status == 200


def test_tokens_are_embedded_as_their_words():
    words = {"content": "a b"}
    tokens = ask(talk(), "/tokenize", words).body["tokens"]
    both = ask(talk(), "/v1/embeddings", {"input": ["a b", tokens]}).body["data"]
    assert both[0]["embedding"] == both[1]["embedding"]
