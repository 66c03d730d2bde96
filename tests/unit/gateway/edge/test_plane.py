"""What an nginx hears that is not as it should be; the contract tests have a real one."""

import asyncio
import json
import time

from aiohttp import web

from orchestrator.access.keys.rates import Rates
from orchestrator.access.keys.table import KeyTable
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.gateway.edge.plane import EdgePlane
from orchestrator.gateway.planes import Published
from orchestrator.web.guard import Admission
from tests.unit.access.keys.samples import key


class Keys:
    def __init__(self, table):
        self.table, self.rates, self.steady = table, Rates(), time.monotonic


async def routes_told(tmp_path, table, *, keys_status):
    """To an nginx that answers so where it is told of keys, in HTML."""
    told = []

    async def routes(request):
        told.append((await request.json())["routes"])
        return web.json_response({"epoch": "e"})

    async def counts(_):
        return web.json_response({"epoch": "e", "passing": {}, "passed": {}})

    async def keys(_):
        return web.Response(status=keys_status, text="<html>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.put("/routes", routes), web.get("/counts", counts), web.put("/keys", keys)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "c")).start()
    plane = EdgePlane(
        tmp_path / "c", epoch="1", keys=Keys(table), admission=Admission, used=lambda _: None
    )
    plane.publish(
        [
            Published(
                instance=InstanceId("a-1"),
                number=1,
                names=(ModelName("a"),),
                url="http://127.0.0.1:1",
                priority=5,
            )
        ]
    )
    try:
        assert await plane.counted([InstanceId("a-1")]) == {"a-1": 0}
    finally:
        await plane.close()
        await runner.cleanup()
    return json.loads(json.dumps(told))[-1]


def test_an_nginx_that_does_not_take_the_keys_has_no_routes(tmp_path):
    for status in (404, 413, 507):
        closed = KeyTable(1, [key(digest="ab" * 32)])
        assert asyncio.run(routes_told(tmp_path, closed, keys_status=status)) == []
        (tmp_path / "c").unlink(missing_ok=True)


def test_one_from_before_keys_has_them_where_there_are_none(tmp_path):
    (route,) = asyncio.run(routes_told(tmp_path, KeyTable(), keys_status=404))
    assert route["names"] == ["a"]
