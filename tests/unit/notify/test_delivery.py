import asyncio
import hashlib
import hmac
import logging

from orchestrator.notify.delivery import (
    DELIVERY,
    PENDING_MAX,
    SIGNATURE,
    Deliveries,
    secret_in,
    signature,
)
from tests.receiver import receiver
from tests.scenarios.daemon import free_port

NOW_S = 1_768_473_000.0


def deliver(*urls, pauses_s=(0.01, 0.01)):
    async def delivering():
        deliveries = Deliveries(lambda: b"key", lambda: NOW_S, pauses_s)
        for url in urls:
            deliveries.send(url, {"type": "stuck", "model": "ä"})
        while deliveries._under_way:
            await asyncio.sleep(0.01)
        await deliveries.close()

    asyncio.run(delivering())


def test_a_post_is_signed_over_its_instant_and_its_body():
    with receiver() as there:
        deliver(f"{there.url}/hook?a=b")
        (heard,) = there.heard
    assert (heard.path, heard.said) == ("/hook?a=b", {"type": "stuck", "model": "ä"})
    expected = hmac.new(b"key", b"1768473000." + heard.body, hashlib.sha256).hexdigest()
    assert heard.headers[SIGNATURE] == f"t=1768473000,v1={expected}"
    assert heard.headers["Content-Type"] == "application/json"


def test_it_is_tried_again_with_the_same_name_until_it_is_taken():
    with receiver() as there:
        there.statuses += [500, 404]
        deliver(there.url)
        assert len(there.heard) == 3
        assert len({heard.headers[DELIVERY] for heard in there.heard}) == 1


def test_it_is_given_up_and_said_in_the_log(caplog):
    with receiver() as there:
        there.statuses += [503] * 9
        deliver(there.url)
        assert len(there.heard) == 3
    assert "was not told: it answered 503; tried 3 times" in caplog.text


def test_the_path_of_an_address_is_not_in_the_log(caplog):
    secret = f"http://127.0.0.1:{free_port()}/services/T0/s3cret?token=s3cret"
    deliver(*[secret] * (PENDING_MAX + 1), pauses_s=())
    assert "posts are under way" in caplog.text
    assert "was not told" in caplog.text
    assert "s3cret" not in caplog.text


def test_where_nobody_listens_is_no_more_than_a_line(caplog):
    deliver(f"http://127.0.0.1:{free_port()}", "http://[", pauses_s=())
    assert caplog.text.count("was not told") == 2


def test_a_redirect_is_not_followed():
    with receiver() as there:
        there.statuses += [307, 301]
        deliver(f"{there.url}/hook", pauses_s=(0.01,))
        assert [heard.path for heard in there.heard] == ["/hook", "/hook"]


def test_what_is_too_much_is_let_go_and_said(caplog):
    caplog.set_level(logging.WARNING)
    with receiver() as there:
        deliver(*([there.url] * (PENDING_MAX + 2)))
        # An answer may be lost on a busy machine: then it is told once more.
        assert len({heard.headers[DELIVERY] for heard in there.heard}) == PENDING_MAX
    assert caplog.text.count("is not told") == 2


def test_what_is_under_way_is_given_up_at_the_end():
    async def ending():
        deliveries = Deliveries(lambda: b"key", lambda: NOW_S, (3600.0,))
        deliveries.send(f"http://127.0.0.1:{free_port()}", {})
        await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            await deliveries.close()

    asyncio.run(ending())


def test_the_secret_is_made_once_and_nobody_else_reads_it(tmp_path):
    made = secret_in(tmp_path)
    assert (len(made), secret_in(tmp_path)) == (64, made)
    assert (tmp_path / "webhook-secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["webhook-secret"]
    assert signature(made, 1, b"{}") != signature(made, 2, b"{}")
