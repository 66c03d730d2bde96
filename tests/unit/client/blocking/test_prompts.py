from tests.unit.client.shells import CHAT, events


def test_a_prompt_with_its_settings(server, client):
    answer = client.generate("hello", model="chat", system="Be brief.", max_tokens=5)
    assert str(answer) == "Hi."
    (body,) = server.bodies("/v1/chat/completions")
    assert body["model"] == "chat"
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert body["max_tokens"] == 5


def test_a_conversation(server, client):
    messages = [{"role": "user", "content": "hello"}]
    assert client.chat(messages).text == "Hi."
    server.answers[CHAT] = events("Hi", "!")
    assert list(client.chat_stream(messages, temperature=0)) == ["Hi", "!"]
    assert server.bodies("/v1/chat/completions")[1]["temperature"] == 0


def test_no_room_is_waited_for(server, client):
    server.answers[CHAT] = [(503, {"code": "no_room", "retry_after_seconds": 0.01}), events("a")]
    assert list(client.generate_stream("hello")) == ["a"]


def test_its_address_is_known(server, client):
    assert client.url == server.url
