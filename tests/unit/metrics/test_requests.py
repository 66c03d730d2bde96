import pytest

from orchestrator.core.values.specs import ModelName
from orchestrator.desk.activity import Run
from orchestrator.metrics.families import Families
from orchestrator.metrics.requests import RequestCounting, status_of
from orchestrator.records import Outcome


def run(outcome=Outcome.ANSWERED, status=200, *, model="a", asked="a", first_byte_s=10.5):
    made = Run(1, asked, "openai", "/v1/x", "::1", None, False, None, 10.0)
    made.model = model and ModelName(model)
    made.outcome, made.status = outcome, status
    made.first_byte_s, made.ended_s = first_byte_s, 12.0
    return made


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (Outcome.ANSWERED, 200, "success"),
        (Outcome.ANSWERED, 400, "rejected"),
        (Outcome.ANSWERED, 500, "error"),
        (Outcome.REFUSED, 503, "refused"),
        (Outcome.CLIENT_GONE, None, "client_gone"),
        (Outcome.SERVER_DIED, 502, "error"),
        (Outcome.FAILED, None, "error"),
        (Outcome.ENDED, 200, "ended"),
    ],
)
def test_status(outcome, status, expected):
    assert status_of(run(outcome, status)) == expected


def test_a_name_that_a_client_made_up_is_no_label():
    families = Families()
    counting = RequestCounting(families, lambda: {ModelName("a"), ModelName("b")})
    counting.ended(run())
    counting.ended(run(Outcome.REFUSED, 503, model=None, asked="b", first_byte_s=None))
    counting.ended(run(Outcome.REFUSED, 404, model=None, asked="made up", first_byte_s=None))
    counting.passed_over(7)

    def value(name, **labels):
        return families.registry.get_sample_value(name, labels)

    assert value("llamacpp_requests_total", model="a", status="success") == 1
    assert value("llamacpp_requests_total", model="b", status="refused") == 1
    assert value("llamacpp_requests_total", model="unknown", status="refused") == 1
    assert value("llamacpp_requests_duration_seconds_sum", model="a") == 2.0
    assert value("orchestrator_time_to_first_byte_seconds_sum", model="a") == 0.5
    assert value("orchestrator_requests_without_figures_total") == 7
