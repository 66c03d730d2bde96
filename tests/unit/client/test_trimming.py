import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.errors import ContextTooSmall, NotChosen, NotUnderstood
from orchestrator.client.exchanges import Ask, Retries
from orchestrator.client.trimming import (
    context_size,
    room,
    token_count,
    trimmed,
    trimmed_to,
    turns,
)
from tests.unit.client.playing import Play, refusal, reply

SYSTEM = {"role": "system", "content": "Be brief."}


def user(words: int):
    return {"role": "user", "content": " ".join(["x"] * words)}


def assistant(words: int = 1):
    return {"role": "assistant", "content": " ".join(["y"] * words)}


def counted(exchange):
    """Play the server: a word is a token. The result, and how often the template was applied."""
    applied = 0
    step = next(exchange)
    try:
        while True:
            assert isinstance(step, Ask)
            if step.path == "/apply-template":
                applied += 1
                said = " ".join(each["content"] for each in step.body["messages"])
                step = exchange.send(reply({"prompt": said}))
            else:
                assert step.path == "/tokenize"
                step = exchange.send(reply({"tokens": step.body["content"].split()}))
    except StopIteration as end:
        return end.value, applied


def cut(messages, tokens):
    return counted(trimmed(messages, "chat", tokens, Retries()))


def test_a_turn_begins_with_the_user():
    tool = {"role": "tool", "content": "4"}
    head, said = turns([SYSTEM, user(1), assistant(), tool, assistant(), user(2)])
    assert head == (SYSTEM,)
    assert [len(turn) for turn in said] == [4, 1]
    assert turns([assistant(), user(1)])[1] == ((assistant(),), (user(1),))
    assert turns([]) == ((), ())


def test_what_fits_stays_as_it_is():
    messages = [SYSTEM, user(3), assistant(), user(2)]
    assert cut(messages, 8) == (messages, 1)


def test_the_oldest_turns_go_and_the_system_message_stays():
    messages = [SYSTEM, user(50), assistant(50), user(3), assistant(2), user(4)]
    kept, _ = cut(messages, 20)
    assert kept == [SYSTEM, user(3), assistant(2), user(4)]


def test_one_turn_that_is_too_long_is_an_error_with_its_numbers():
    with pytest.raises(ContextTooSmall) as raised:
        cut([SYSTEM, user(3), assistant(), user(100)], 50)
    assert (raised.value.needed_tokens, raised.value.available_tokens) == (102, 50)
    with pytest.raises(ContextTooSmall):
        cut([SYSTEM], 1)


def test_a_long_conversation_is_counted_a_few_times():
    messages = [SYSTEM, *[user(1) for _ in range(1000)]]
    kept, applied = cut(messages, 502)
    assert len(kept) == 501
    assert applied <= 12


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(22, 300))
def test_as_many_turns_as_fit_and_no_more(sizes, tokens):
    messages = [SYSTEM, *map(user, sizes)]
    kept, _ = cut(messages, tokens)
    assert kept[0] == SYSTEM
    assert kept[1:] == messages[len(messages) - len(kept) + 1 :]
    count = 2 + sum(sizes[len(sizes) - len(kept) + 1 :])
    assert count <= tokens
    more = sizes[len(sizes) - len(kept)] if len(kept) <= len(sizes) else None
    assert more is None or count + more > tokens


def test_tokens_are_the_server_s():
    play = Play(
        token_count([user(1)], "chat", Retries()),
        reply({"prompt": "<s>x"}),
        reply({"tokens": [1, 2, 3]}),
    )
    assert play.result == 3
    assert [ask.body["model"] for ask in play.asks] == ["chat", "chat"]
    assert play.asks[1].body["content"] == "<s>x"
    assert "model" not in Play(token_count([user(1)], None, Retries())).asks[0].body
    broken = Play(token_count([user(1)], "chat", Retries()), reply({"text": "x"}))
    assert isinstance(broken.error, NotUnderstood)


def told(resident=None, serving=None, context=None):
    body = {"resident": resident, "serving": serving, "context_size": context}
    return reply(json.dumps(body).encode())


def sized(answer, model="chat"):
    return Play(context_size(model, Retries()), answer)


def test_the_context_is_the_loaded_model_s_else_its_settings_one():
    loaded = told({"serving": {"context_size": 4096}}, {"context_size": 8192}, 8192)
    assert sized(loaded).result == 4096
    assert sized(told(None, {"context_size": 8192}, 8192)).result == 8192
    assert sized(told({"serving": None}, None, 2048)).result == 2048
    assert isinstance(sized(told()).error, NotChosen)
    assert sized(refusal("unknown_model", 404), "a/b").asks[0].path == "/models/a%2Fb"


def test_whose_context_must_be_known():
    assert isinstance(Play(context_size(None, Retries())).error, NotChosen)


def test_an_answer_needs_room_too():
    assert room(4096, 1024) == 3072
    with pytest.raises(NotChosen, match="1024"):
        room(1024, 1024)


def test_a_context_that_is_said_is_not_asked_for():
    messages = [SYSTEM, user(2)]
    assert counted(trimmed_to(messages, None, 10, 4, Retries()))[0] == messages
    play = Play(trimmed_to(messages, "chat", None, 4, Retries()), told(None, None, 10))
    assert play.asks[0].path == "/models/chat"
    assert play.asks[1].path == "/apply-template"
