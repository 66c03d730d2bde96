"""A real client of the Model Context Protocol, by way of `orchestrator mcp`, at the real daemon."""

import asyncio
import os
import socket
import subprocess
import sys
import time

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.scenarios.daemon import free_port, model
from tests.scenarios.test_keys import bearer, keys

MODELS = {"a": model(20000), "b": model(20000)}
PATIENCE_S = 120.0


async def swap(client):
    """What an agent would do: look, plan, load, ask why, let go."""

    async def call(name, **arguments):
        answer = await client.call_tool(name, arguments)
        return answer.is_error, answer.structured_content, answer.content

    assert (await call("status"))[1]["loaded_models"] == {}
    assert (await call("load", model="a"))[1]["success"]
    _, plan, _ = await call("plan", model="b")
    assert [victim["model"] for victim in plan["evict"]] == ["a"]
    _, loaded, _ = await call("load", model="b", owner="agent", lease_seconds=60)
    assert loaded["evicted"] == ["a"]
    refused, _, said = await call("load", model="a", wait_seconds=0.5)
    assert refused, said
    _, why, _ = await call("why", model="a")
    assert "evict" in {decision["kind"] for decision in why["decisions"]}
    await call("release", lease_id=loaded["lease_id"])
    assert (await call("unload", model="b"))[1]["success"]
    _, lease, _ = await call("lease", vram_mb=1000, owner="agent", seconds=60)
    await call("release", lease_id=lease["lease_id"])
    status = (await call("status"))[1]
    assert "b" not in status["loaded_models"]
    assert status["leases"] == []
    refused, _, said = await call("plan", model="none")
    assert refused
    assert "unknown_model" in said[0].text


def in_time(work):
    async def bounded():
        async with asyncio.timeout(PATIENCE_S):
            await work

    asyncio.run(bounded())


def test_an_agent_swaps_models_over_standard_input_and_output(daemons):
    daemon = daemons(MODELS)

    async def work():
        program = StdioServerParameters(
            command=sys.executable,
            args=["-m", "orchestrator", "mcp", "--url", daemon.url],
            env={"PATH": os.defpath},
        )
        async with Client(program) as client:
            await swap(client)

    in_time(work())


def test_an_agent_swaps_models_over_http(daemons):
    daemon = daemons(MODELS)
    port = free_port()
    words = [sys.executable, "-m", "orchestrator", "mcp", "--url", daemon.url, "--http", str(port)]
    serving = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    async def work():
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            await swap(client)

    try:
        until_listening(port)
        in_time(work())
    finally:
        serving.terminate()
        assert serving.wait(60) is not None


def test_over_http_everybody_has_the_key_that_he_brings(daemons):
    """The process's own is lent to nobody, and one session's caller cannot be another's."""
    daemon = daemons(MODELS)
    load, read = (keys(daemon, "create", scope, "--scope", scope) for scope in ("load", "read"))
    port = free_port()
    words = [sys.executable, "-m", "orchestrator", "mcp", "--url", daemon.url, "--http", str(port)]
    environ = {"PATH": os.defpath, "ORCHESTRATOR_API_KEY": load["key"]}
    serving = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environ)

    async def told(made, tool, **arguments):
        headers = bearer(made) if made else {}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
            async with Client(transport) as client:
                answer = await client.call_tool(tool, arguments)
                return answer.is_error, str(answer.content)

    async def work():
        refused, said = await told(None, "status")
        assert refused, "with the key of the process"
        assert "unauthorized" in said
        refused, said = await told(read, "load", model="a")
        assert refused
        assert "lacks the scope" in said
        assert not (await told(read, "status"))[0]
        assert not (await told(load, "load", model="a"))[0]

    try:
        until_listening(port)
        in_time(work())
    finally:
        serving.terminate()
        assert serving.wait(60) is not None


def test_on_standard_input_and_output_the_key_is_of_the_process(daemons):
    daemon = daemons(MODELS)
    made = keys(daemon, "create", "agent", "--scope", "load", "--scope", "lease")

    async def work():
        program = StdioServerParameters(
            command=sys.executable,
            args=["-m", "orchestrator", "mcp", "--url", daemon.url],
            env={"PATH": os.defpath, "ORCHESTRATOR_API_KEY": made["key"]},
        )
        async with Client(program) as client:
            assert not (await client.call_tool("load", {"model": "a"})).is_error

    in_time(work())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])  # the package guards the first
def test_a_page_of_others_gets_no_tools(host):
    """Wherever they are served: the name in `Host` may have been pointed here (DNS rebinding)."""
    port = free_port()
    words = [sys.executable, "-m", "orchestrator", "mcp", "--http", f"{host}:{port}"]
    serving = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    order = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {},
                   "clientInfo": {"name": "a page", "version": "1"}},
    }  # fmt: skip

    def answered(**headers):
        accept = {"Accept": "application/json, text/event-stream"}
        url = f"http://{host}:{port}/mcp"
        answer = httpx.post(
            url, json=order, headers=accept | headers, timeout=PATIENCE_S, trust_env=False
        )
        return answer.status_code

    try:
        until_listening(port, host)
        assert answered() == 200
        assert answered(Host="evil.example") == 421
        assert answered(Host=f"evil.example:{port}", Origin=f"http://evil.example:{port}") == 421
        assert answered(Origin="http://evil.example") == 403
    finally:
        serving.terminate()
        assert serving.wait(60) is not None


def until_listening(port, host="127.0.0.1"):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)
