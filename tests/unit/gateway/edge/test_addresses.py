import asyncio

import pytest

from orchestrator.gateway.edge.addresses import Address, Addresses, literal


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("http://[::1]:81", Address("[::1]", 81)),
        ("http://10.0.0.7", Address("10.0.0.7", 80)),
        ("http://llama-cpp:8000", "llama-cpp"),
        ("https://10.0.0.7", None),
        ("http://10.0.0.7/models/a", None),
        ("http://10.0.0.7/?key=x", None),
        ("fake://a-1", None),
    ],
)
def test_what_nginx_can_be_told(url, found):
    assert literal(url) == found


def test_names_are_looked_up_and_believed_for_a_while():
    async def scene():
        addresses = Addresses()
        first = await addresses.of(1, "http://localhost:8080")
        assert await addresses.of(1, "http://localhost:8080") is first
        return first, await addresses.of(2, "http://nowhere.invalid:1")

    assert asyncio.run(scene()) == (Address("127.0.0.1", 8080), None)


def test_a_route_that_is_opened_anew_is_looked_up_anew():
    """Its container may have another address, and another container may have the old one."""

    async def scene():
        addresses = Addresses()
        before = await addresses.of(1, "http://localhost:8080")
        addresses.keep({2})
        assert await addresses.of(2, "http://localhost:8080") is not before
        assert await addresses.of(1, "http://localhost:8080") is not before

    asyncio.run(scene())
