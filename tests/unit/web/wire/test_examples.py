import pytest
from pydantic import TypeAdapter

from orchestrator.web.wire import error_shapes, event_shapes, examples, shapes

SHOWN = [
    (shapes.Status, examples.STATUS),
    (shapes.LoadAnswer, examples.LOADED),
    (shapes.Accepted, examples.ACCEPTED),
    (shapes.UnloadAnswer, examples.UNLOADED),
    (shapes.PlanAnswer, examples.PLAN),
    (shapes.EstimateAnswer, examples.ESTIMATE),
    (shapes.ModelList, examples.CATALOGUE),
    (shapes.ModelAnswer, examples.MODEL),
    (shapes.RoomAnswer, examples.ROOM),
    (shapes.RoomLeases, examples.ROOMS),
    (shapes.ModelLeases, examples.MODEL_LEASES),
    (shapes.RenewAnswer, examples.RENEWED),
    (event_shapes.OperationShape, examples.OPERATION),
    (event_shapes.Events, examples.EVENTS),
    (event_shapes.Jobs, examples.JOBS),
    (shapes.DeviceList, examples.DEVICES),
    (shapes.Pinned, examples.PINNED),
    (shapes.Itself, examples.ITSELF),
    (shapes.Logs, examples.LOGS),
    *((error_shapes.ErrorBody, body) for _, body in examples.ERRORS.values()),
]


@pytest.mark.parametrize(("shape", "example"), SHOWN)
def test_example_is_an_answer(shape, example):
    assert TypeAdapter(shape).validate_python(example) == example
