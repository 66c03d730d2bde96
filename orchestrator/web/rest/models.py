"""Models: what is loaded, what may be, and the orders to load, unload, plan and pin."""

from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from orchestrator.access.keys.record import KeyScope
from orchestrator.access.scrubbing import scrubbed
from orchestrator.config.webhooks import may_call_back
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import seen
from orchestrator.errors import Denied
from orchestrator.orders import EstimateOrder, LoadOrder, LoadOutcome, UnloadOrder
from orchestrator.web.rest.docs import EVERY_WRITE, answers, error_responses
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import (
    NO_CONTENT,
    UNDURABLE,
    BoardOf,
    DeskOf,
    Giving,
    ModelPath,
    RightsOf,
    answer,
    done,
    encoded,
    kept,
    place_of,
    unless_gone,
)
from orchestrator.web.wire import devices, examples, shapes, shaping
from orchestrator.web.wire.error_answers import (
    Answered,
    ErrorAnswer,
    WebCode,
    clip,
    error_of,
    respond,
)
from orchestrator.web.wire.models import (
    FileList,
    file_list,
    model_answer,
    other_names,
    with_other_names,
)

LOG_LINES_MAX = 1000
DEADLINE_RETRY_S = (1.0, 60.0)  # a retry joins the load and waits again: soon is fine
MODEL_ENTRY: dict[str, Any] = {"service": "rehearsal", "vram_mb": 6000, "priority": 5}

router = APIRouter(tags=["models"], route_class=JsonRoute)


@router.get(
    "/models/status",
    summary="What is loaded, and how much room there is",
    responses=answers(shapes.Status, examples.STATUS),
)
async def status(board: BoardOf, rights: RightsOf) -> Response:
    """Answered from memory: polling it, at any rate, touches no device and no idle timer."""
    return encoded(board.status(rights))


@router.post(
    "/models/load",
    summary="Have a model ready",
    responses=answers(shapes.LoadAnswer, examples.LOADED, *EVERY_WRITE, 404, 409, 502, 503, 507)
    | answers(shapes.Accepted, examples.ACCEPTED, status=202),
)
async def load(
    order: LoadOrder,
    request: Request,
    desk: DeskOf,
    rights: RightsOf,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Answers once the model really answers, making room as the rules allow.

    `wait: false` or `Prefer: respond-async` answers 202 at once, with an operation to look up. At
    the deadline the answer is 503 `load_deadline`; the load goes on and a retry joins it, as it
    does when the caller leaves: then neither `owner`'s lease nor `pin` is kept. Numbers may be
    sent as strings.

    A model whose file is on a hub (`auto_download`) is brought first; `queue[]` of the status says
    how far it is, and no model leaves before it is here.
    """
    _may_call_back(desk, order)
    asynchronous = "respond-async" in (prefer or "").lower()
    if asynchronous or order.wait_s == 0:
        pending = await desk.begin_load(order, rights)
        given = await _answered_at_once(desk, pending.id, asynchronous=asynchronous)
    else:
        with place_of(request):
            pending = await desk.begin_load(order, rights)
            waiting = unless_gone(request, desk.load_outcome(pending.id, order.wait_s))
            try:
                given = _loaded(desk, await _or_refused(waiting, pending.id))
            except TimeoutError:
                given = respond(_deadline(desk, pending.id, order.wait_s), request.scope)
    return Giving(given, lambda: desk.load_unheard(pending.id))


@router.post(
    "/models/unload",
    summary="Let a model go",
    responses=answers(shapes.UnloadAnswer, examples.UNLOADED, *EVERY_WRITE, 404, 409, 503),
)
async def unload(order: UnloadOrder, request: Request, desk: DeskOf, rights: RightsOf) -> Response:
    """Drains up to `wait`, stops, and answers when the device has the bytes back.

    With `owner` or `lease_id` only that hold ends; the model leaves if it was the last one. If the
    caller leaves meanwhile, a model that still drains serves on; a stop that was begun goes on.
    """
    outcome = await unless_gone(request, desk.unload(order, rights))
    return kept(shaping.unload_answer(outcome), outcome.durable)


@router.post(
    "/models/plan",
    summary="What a load would do, without doing it",
    responses=answers(shapes.PlanAnswer, examples.PLAN, *EVERY_WRITE, 404, 409),
)
async def plan(order: LoadOrder, desk: DeskOf, rights: RightsOf) -> Response:
    """What a start needs (file, container, image, program) is looked at as before a load.

    Nothing is brought, started or stopped.
    """
    preview = await desk.preview(order, rights)
    host = devices.host_devices(desk.snapshot().accounts)
    return answer(shaping.plan_answer(preview, host))


@router.post(
    "/models/estimate",
    summary="What a model or a file would take, told from its header",
    responses=answers(shapes.EstimateAnswer, examples.ESTIMATE, *EVERY_WRITE, 404),
)
async def estimate(order: EstimateOrder, desk: DeskOf, rights: RightsOf) -> Response:
    """In MiB, for the GPUs it may be spread over and the host beside them. Nothing is loaded.

    A file must lie where a service may read it: under its `models_dir` or an allowed root. Of one
    on a hub (`ORG/REPO:Q4_K_M`) the first megabytes are read, and nothing is kept.
    """
    if order.file is not None:
        rights.need(KeyScope.ADMIN, ", which a file takes")
    elif order.model is not None:
        desk.named(order.model, rights)
    return answer(shaping.estimate_answer(await desk.estimate(order)))


@router.get(
    "/models",
    summary="The catalogue, with states",
    responses=answers(shapes.ModelList, examples.CATALOGUE),
)
async def models(board: BoardOf, rights: RightsOf) -> Response:
    """In the shape of llama.cpp's router, with our fields beside."""
    await board.read_files()
    return encoded(board.models(rights))


@router.get(
    "/files",
    summary="Files that could be models",
    responses=answers(FileList, examples.FILES),
)
async def files(desk: DeskOf) -> Response:
    """GGUF files under the `models_dir` of services that no model is made of: at most a hundred.

    `POST /models/estimate` says what one would take, `PUT /models/{name}` makes a model of it.
    """
    return answer(file_list(await desk.previews.unused_files()))


@router.get(
    "/v1/models",
    summary="The catalogue, for OpenAI clients",
    responses=answers(shapes.NameList, examples.CATALOGUE),
)
async def openai_models(board: BoardOf, desk: DeskOf, rights: RightsOf) -> Response:
    """And behind it the names of tasks and chains, which stand for models."""
    await board.read_files()
    return encoded(with_other_names(board.models(rights), desk.config.gateway))


@router.get(
    "/v1/models/{name}",
    summary="One model, for OpenAI clients",
    responses=answers(shapes.ModelAnswer | shapes.OtherName, examples.MODEL, 404, 422),
)
async def openai_model(name: ModelPath, desk: DeskOf, board: BoardOf, rights: RightsOf) -> Response:
    other = other_names(desk.config.gateway).get(name)
    return await model(name, desk, board, rights) if other is None else answer(other)


@router.get(
    "/models/{name}",
    summary="One model",
    responses=answers(shapes.ModelAnswer, examples.MODEL, 404, 422),
)
async def model(name: ModelPath, desk: DeskOf, board: BoardOf, rights: RightsOf) -> Response:
    """By name or alias, with its effective serving values, its resident, if there is one, and what
    it would take under each profile.
    """
    spec = desk.named(name, rights)
    under = await desk.previews.under_profiles(spec)
    await board.read_files()
    shown = seen(desk.snapshot(), rights)
    return answer(model_answer(spec, shown, under, board.about(spec)))


@router.put(
    "/models/{name}",
    summary="Add or change a model of the catalogue",
    responses=answers(shapes.ChangedModel, examples.MODEL, *EVERY_WRITE, 404, 409, 503),
)
async def put_model(
    name: ModelPath,
    body: Annotated[dict[str, Any], Body(examples=[MODEL_ENTRY])],
    desk: DeskOf,
    rights: RightsOf,
) -> Response:
    """Takes what the configuration takes under `models`, with the same checks."""
    rights.may_name(name)
    outcome = await desk.put_model(name, body)
    return kept(model_answer(outcome.spec, desk.snapshot()), outcome.durable)


@router.delete(
    "/models/{name}",
    summary="Take a model out of the catalogue",
    status_code=NO_CONTENT,
    responses=answers(shapes.Undurable, UNDURABLE) | error_responses(*EVERY_WRITE, 404, 409),
)
async def delete_model(name: ModelPath, desk: DeskOf, rights: RightsOf) -> Response:
    desk.named(name, rights)
    return done(await desk.delete_model(name))


@router.put(
    "/models/{name}/pin",
    summary="Pin a model",
    responses=answers(shapes.Pinned, examples.PINNED, *EVERY_WRITE, 404),
)
async def pin(name: ModelPath, desk: DeskOf, rights: RightsOf) -> Response:
    """A pinned model leaves only by force or by its own unload."""
    desk.named(name, rights)
    outcome = await desk.set_pin(name, pinned=True)
    return kept({"model": outcome.spec.name, "pinned": True}, outcome.durable)


@router.delete(
    "/models/{name}/pin",
    summary="Unpin a model",
    responses=answers(shapes.Pinned, examples.UNPINNED, *EVERY_WRITE, 404),
)
async def unpin(name: ModelPath, desk: DeskOf, rights: RightsOf) -> Response:
    desk.named(name, rights)
    outcome = await desk.set_pin(name, pinned=False)
    return kept({"model": outcome.spec.name, "pinned": False}, outcome.durable)


@router.get(
    "/models/{name}/logs",
    summary="The last lines of a model server's log",
    responses=answers(shapes.Logs, examples.LOGS, 404, 422, 503),
)
async def logs(
    name: ModelPath,
    desk: DeskOf,
    rights: RightsOf,
    lines: Annotated[int, Query(ge=1, le=LOG_LINES_MAX)] = 100,
) -> Response:
    """Empty if it never ran. Also of a model that runs and has left the catalogue. Keys and tokens
    are taken out, where they have a form by which they are known.
    """
    spec = desk.here_or_named(name, rights)
    tail = await desk.log_tail(spec.name, lines)
    return answer({"model": spec.name, "lines": [scrubbed(line) for line in tail]})


async def _answered_at_once(desk: Desk, operation_id: str, *, asynchronous: bool) -> Response:
    """The end of the load if it has come already, else where to look for it."""
    waiting = desk.load_outcome(operation_id, 0)
    try:
        return _loaded(desk, await _or_refused(waiting, operation_id))
    except TimeoutError:
        applied = {"Preference-Applied": "respond-async"} if asynchronous else {}
        return answer(shaping.accepted(*desk.load_progress(operation_id)), 202, applied)


async def _or_refused(waiting: Awaitable[LoadOutcome], operation_id: str) -> LoadOutcome:
    try:
        return await waiting
    except Denied as denied:
        raise Answered(error_of(denied.refusal, operation_id=operation_id)) from denied


def _loaded(desk: Desk, outcome: LoadOutcome) -> Response:
    host = devices.host_devices(desk.snapshot().accounts)
    return kept(shaping.load_answer(outcome, host), outcome.durable)


def _may_call_back(desk: Desk, order: LoadOrder) -> None:
    """Raise Answered: where it may not, no load begins."""
    url = order.callback_url
    if url is not None and not may_call_back(desk.config.webhooks, url):
        raise Answered(
            ErrorAnswer(
                code=WebCode.CALLBACK_REFUSED,
                detail=f"callback_url {clip(url)} is not among those that may be called.",
                remedy="The operator lists them in webhooks.callback_urls of the configuration.",
            )
        )


def _deadline(desk: Desk, operation_id: str, wait_s: float) -> ErrorAnswer:
    pending, eta_s = desk.load_progress(operation_id)
    soonest_s, latest_s = DEADLINE_RETRY_S
    progress = shaping.accepted(pending, eta_s)
    waits_for = desk.waits_for(pending.model)
    return ErrorAnswer(
        code=WebCode.LOAD_DEADLINE,
        detail=f"{pending.model} is not ready after {wait_s:g} s; the load goes on. It waits for: "
        f"{waits_for.removesuffix('.')}.",
        remedy=f"Send the same request again to join it, or look at {progress['status_url']}.",
        retry_after_s=min(max(eta_s or soonest_s, soonest_s), latest_s),
        members={key: progress[key] for key in ("operation_id", "status_url", "eta_seconds")}
        | {"waits_for": waits_for},
    )
