"""Who is told by the real daemon, and what of."""

import hashlib
import hmac

import pytest

from tests.receiver import receiver
from tests.scenarios.daemon import model


@pytest.fixture
def there_to_hear():
    with receiver() as there:
        yield there


def signed(daemon, heard):
    """Whether its signature is that of the daemon's secret."""
    secret = (daemon.directory / "state" / "webhook-secret").read_text().strip().encode()
    at, _, digest = heard.headers["X-Orchestrator-Signature"].partition(",v1=")
    body = at.removeprefix("t=").encode() + b"." + heard.body
    return hmac.compare_digest(hmac.new(secret, body, hashlib.sha256).hexdigest(), digest)


def test_a_breaker_and_a_lost_device_are_told(daemons, there_to_hear):
    there_to_hear.statuses.append(503)  # it is told again
    daemon = daemons(
        {"broken": model(1000, fake={"fail": "exits"})},
        webhooks={"urls": [f"{there_to_hear.url}/hook"]},
    )
    for _ in range(3):
        daemon.post("/models/load", {"model": "broken"})
    heard = there_to_hear.until(2)
    assert [one.said["type"] for one in heard] == ["breaker", "breaker"]
    assert heard[0].said["model"] == "broken"
    assert all(signed(daemon, one) for one in heard)
    daemon.http.put("/devices/fake-0/fake", json={"fault": "lost"})
    last = there_to_hear.until(3)[-1]
    assert (last.said["type"], last.said["device"]) == ("device", "fake-0")


def test_the_end_of_a_load_is_told_where_that_is_allowed(daemons, there_to_hear):
    daemon = daemons(
        {"a": model(1000), "broken": model(1000, fake={"fail": "exits"})},
        webhooks={"callback_urls": [f"{there_to_hear.url}/back"]},
    )
    order = {"wait": False, "callback_url": f"{there_to_hear.url}/back/7"}
    accepted = daemon.post("/models/load", {"model": "a", **order})
    assert accepted.status_code == 202
    (heard,) = there_to_hear.until(1)
    assert (heard.path, heard.said["status"]) == ("/back/7", "succeeded")
    assert heard.said["operation_id"] == accepted.json()["operation_id"]
    assert signed(daemon, heard)
    daemon.post("/models/load", {"model": "broken", **order})
    heard = there_to_hear.until(2)[-1]
    assert (heard.said["status"], heard.said["code"]) == ("failed", "load_failed")
    elsewhere = {**order, "callback_url": "http://127.0.0.1:1/back"}
    refused = daemon.post("/models/load", {"model": "a", **elsewhere})
    assert (refused.status_code, refused.json()["code"]) == (403, "callback_refused")
    assert "webhooks.callback_urls" in refused.json()["remedy"]
