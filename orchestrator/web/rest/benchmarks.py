"""How fast models are: benchmarks that are kept, and what is slower than expected."""

from fastapi import APIRouter, Response

from orchestrator.desk.speeds import BenchmarkOrder
from orchestrator.web.rest.docs import EVERY_WRITE, answers
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import DeskOf, ModelPath, RightsOf, answer, kept
from orchestrator.web.wire import shaping, speed_examples, speed_shapes

router = APIRouter(tags=["models"], route_class=JsonRoute)


@router.get(
    "/benchmarks",
    summary="The last benchmarks, and what is expected",
    responses=answers(speed_shapes.Benchmarks, speed_examples.BENCHMARKS),
)
async def benchmarks(desk: DeskOf, rights: RightsOf) -> Response:
    """The newest of each model under each of its settings on the same devices; newest first."""
    shown: speed_shapes.Benchmarks = {
        "benchmarks": [
            speed_shapes.benchmark(record, shaping.serving(record.serving))
            for record in desk.speeds.benchmarks(rights)
        ],
        "speeds": speed_shapes.speeds(desk.speeds.all(rights)),
    }
    return answer(shown)


@router.post(
    "/models/{name}/benchmarks",
    summary="Keep what a benchmark measured",
    responses=answers(speed_shapes.BenchmarkKept, speed_examples.BENCHMARK, *EVERY_WRITE, 404, 409),
)
async def keep(name: ModelPath, order: BenchmarkOrder, desk: DeskOf, rights: RightsOf) -> Response:
    """Of a model that is loaded, under the settings that it runs with: `orchestrator bench`
    measures, and sends this while its lease keeps the model. What is slower than `expected` allows
    is an event.
    """
    spec = desk.named(name, rights)
    record, before, durable = await desk.speeds.keep(spec, order)
    shown: speed_shapes.BenchmarkKept = {
        "benchmark": speed_shapes.benchmark(record, shaping.serving(record.serving)),
        "before": None if before is None else speed_shapes.measured(before.speeds),
        "speeds": [
            speed
            for speed in speed_shapes.speeds(desk.speeds.all(rights))
            if speed["model"] == spec.name
        ],
    }
    return kept(shown, durable)
