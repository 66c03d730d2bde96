import argparse
import asyncio

import pytest
from mcp import Client

from orchestrator.cli.agents.command import READS, WORDS, _address, key_in, made
from orchestrator.cli.client import Remote
from tests.scenarios.daemon import free_port


def test_every_tool_is_described_and_those_that_only_read_say_so():
    async def listed():
        async with Client(made(Remote(f"http://127.0.0.1:{free_port()}"))) as client:
            tools = (await client.list_tools()).tools
            refused = await client.call_tool("status", {})
        return tools, refused

    tools, refused = asyncio.run(listed())
    assert tuple(tool.name for tool in tools) == WORDS
    assert all(tool.description for tool in tools)
    assert {tool.name for tool in tools if tool.annotations.read_only_hint} == READS
    assert refused.is_error
    assert "No daemon answers" in refused.content[0].text


def test_tools_show_their_own_parameters_alone():
    async def listed():
        async with Client(made(Remote(f"http://127.0.0.1:{free_port()}"))) as client:
            return (await client.list_tools()).tools

    shown = {tool.name: set(tool.input_schema["properties"]) for tool in asyncio.run(listed())}
    assert shown["status"] == set()
    assert shown["plan"] == {"model", "context_size"}


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("Bearer vo_1", "vo_1"),
        ("bearer  vo_1 ", "vo_1"),
        ("Bearer", None),
        ("Basic dm8=", None),
        ("", None),
    ],
)
def test_key_of_a_caller(said, key):
    assert key_in({"authorization": said}) == key
    assert key_in({}) is None


def test_where_http_is_served():
    assert _address("8123") == ("127.0.0.1", 8123)
    assert _address("gpu.lan:8123") == ("gpu.lan", 8123)
    assert _address("[::1]:8123") == ("::1", 8123)
    for wrong in ("", "x", "0", "99999", "host:"):
        with pytest.raises(argparse.ArgumentTypeError):
            _address(wrong)
