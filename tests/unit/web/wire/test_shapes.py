"""The shapes promise in types what `wire` makes, and what the examples show."""

import pytest
from pydantic import TypeAdapter

from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.vram import DeviceState
from orchestrator.web.wire import shapes, shaping
from orchestrator.web.wire.models import model_answer
from tests.unit.web.samples import NOW_S, account, resident, snapshot, spec


def fits(shape, body):
    assert TypeAdapter(shape).validate_python(body) == body
    promised = {name for each in shape.__mro__ for name in getattr(each, "__annotations__", {})}
    assert promised | set(shape.__annotations__) >= set(body)


@pytest.mark.parametrize("state", ResidentState)
def test_status_fits_in_every_state(state):
    accounts = (account(), account("gone", state=DeviceState.UNREADABLE))
    moment = snapshot(resident(spec("a"), state), accounts=accounts)
    fits(shapes.Status, shaping.status(moment))


def test_model_answer_fits_with_and_without_a_breaker():
    failure = Failure(reason=FailureReason.EXITED, detail="It exited.")
    moment = snapshot(breakers={"a": Breaker().after(failure, NOW_S)})
    for name in ("a", "b"):
        fits(shapes.ModelAnswer, model_answer(spec(name), moment))
