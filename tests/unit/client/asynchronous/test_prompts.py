from orchestrator.client import AsyncClient
from tests.asynchronous import run
from tests.unit.client.shells import CHAT, events


def test_prompts_and_conversations(server):
    messages = [{"role": "user", "content": "hello"}]

    async def walk():
        async with AsyncClient(server.url) as client:
            assert client.url == server.url
            assert str(await client.generate("hello", system="Be brief.", max_tokens=5)) == "Hi."
            assert (await client.chat(messages, model="chat")).text == "Hi."
            server.answers[CHAT] = events("Hi", "!")
            return [piece async for piece in client.chat_stream(messages, temperature=0)]

    assert run(walk()) == ["Hi", "!"]
    first, second, third = server.bodies("/v1/chat/completions")
    assert [each["role"] for each in first["messages"]] == ["system", "user"]
    assert second["model"] == "chat"
    assert third["temperature"] == 0
