import asyncio
import logging

from orchestrator.core.values.specs import ModelName
from orchestrator.desk.activity import Activity, Run
from orchestrator.metrics.telemetry import ENDPOINT, Telemetry, labels_of, telemetry_from
from orchestrator.records import Outcome, Usage
from tests.receiver import receiver


def run(path="/v1/chat/completions", model="a", outcome=Outcome.ANSWERED):
    made = Run(1, "made up", "openai", path, "::1", None, False, None, 10.0)
    made.model = model and ModelName(model)
    made.outcome, made.status = outcome, 200
    made.first_byte_s, made.ended_s = 10.5, 12.0
    made.usage = Usage(tokens_in=3, tokens_out=5, tokens_per_s=10.0)
    return made


def test_nothing_is_sent_unless_a_collector_is_named():
    assert telemetry_from({}, Activity(lambda: 0.0), "1") is None


def test_what_a_client_made_up_is_no_label():
    assert labels_of(run())["gen_ai.operation.name"] == "chat"
    assert labels_of(run("/v1/embeddings"))["gen_ai.operation.name"] == "embeddings"
    refused = labels_of(run(model=None, outcome=Outcome.REFUSED))
    assert (refused["gen_ai.request.model"], refused["error.type"]) == ("unknown", "refused")


def test_spans_and_histograms_reach_the_collector(monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    with receiver() as there:
        monkeypatch.setenv(ENDPOINT, there.url)
        activity = Activity(lambda: 12.0)

        async def telling():
            telemetry = telemetry_from({ENDPOINT: there.url}, activity, "1")
            assert isinstance(telemetry, Telemetry)
            activity.take(run())
            await telemetry.close()

        asyncio.run(telling())
        bodies = {heard.path: heard.body for heard in there.until(2)}
    assert b"chat a" in bodies["/v1/traces"]
    assert b"gen_ai.server.time_to_first_token" in bodies["/v1/metrics"]
    assert all(b"made up" not in body for body in bodies.values())
