"""What the OpenAPI document shows of every answer: one sample moment, as `wire` writes it.

Nothing here is JSON by hand, so no example can show what the daemon would not answer.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrator.access.keys.decision import AccessCode, unauthorized
from orchestrator.catalogue.sizing import Appraisal
from orchestrator.core.room.planner import Plan
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.snapshot import DeviceAccount, Snapshot
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName, Serving, room_spec
from orchestrator.core.values.tickets import Ticket, UnloadStatus
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, MiB, Reading
from orchestrator.downloads import Download
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.hub import Phase
from orchestrator.orders import LoadOutcome, Preview, RoomOutcome, UnloadOutcome
from orchestrator.records import (
    DecisionRecord,
    JobRecord,
    Operation,
    OperationState,
    Outcome,
    RequestRecord,
)
from orchestrator.web.wire import (
    event_shapes,
    happenings,
    instants,
    models,
    request_shapes,
    shapes,
    shaping,
    speed_examples,
)
from orchestrator.web.wire.error_answers import (
    ErrorAnswer,
    WebCode,
    error_body,
    error_of,
    error_of_access,
)

# --- the sample ----------------------------------------------------------------------------------

LOADED_AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LOADED_S = LOADED_AT.timestamp()
NOW_S = LOADED_S + 72
AT = instants.moment(LOADED_AT)
GPU = DeviceId("GPU-6a1f7c52-1111-2222-3333-444455556666")
HOST: frozenset[DeviceId] = frozenset()

_QWEN = ModelSpec(
    name=ModelName("qwen3-vl-30b"),
    service=ServiceName("llama-cpp"),
    footprint=Footprint(device_bytes=17234 * MiB, provenance=Provenance.MEASURED),
    priority=10,
    ttl_s=600.0,
    load_s=14.2,
    serving=Serving(context_size=8192),
    aliases=("qwen",),
)
_WHISPER = ModelName("whisperx")
_OVI = ModelSpec(
    name=ModelName("ovi"),
    service=ServiceName("llama-cpp"),
    footprint=Footprint(device_bytes=22528 * MiB, provenance=Provenance.ESTIMATED),
    given_up=("context 4096 instead of 8192",),
)
RESIDENT = Resident(
    instance=InstanceId("qwen3-vl-30b-7f3a91"),
    spec=_QWEN,
    placement=Placement(((GPU, 17234 * MiB),)),
    state=ResidentState.READY,
    state_since_s=LOADED_S,
    last_used_s=NOW_S - 2,
    priority=_QWEN.priority,
    ttl_s=_QWEN.ttl_s,
    ready_s=LOADED_S,
    endpoint=Endpoint("http://127.0.0.1:41873"),
    lease_count=1,
)
_ROOM = replace(
    RESIDENT,
    instance=InstanceId("lease-comfyui-1"),
    spec=room_spec(ModelName("lease-comfyui-1"), 8192 * MiB, None, 5),
    placement=Placement(((GPU, 8192 * MiB),)),
)


def _lease(number: int, kind: LeaseKind, owner: str | None, *, on: Resident, s: float) -> Lease:
    return Lease(
        id=LeaseId(f"lease-{number}"),
        ticket=Ticket(number),
        instance=on.instance,
        model=on.name,
        kind=kind,
        owner=owner,
        priority=5,
        granted_s=LOADED_S,
        expires_s=LOADED_S + s,
    )


_REQUEST = _lease(7, LeaseKind.REQUEST, None, on=RESIDENT, s=240)
_OWNED = _lease(8, LeaseKind.OWNER, "workflow-3", on=RESIDENT, s=3600)
_ROOM_LEASE = _lease(9, LeaseKind.ROOM, "comfyui", on=_ROOM, s=600)

SNAPSHOT = Snapshot(
    now_s=NOW_S,
    version=1,
    accounts=(
        DeviceAccount(
            reading=Reading(
                device=Device(id=GPU, name="NVIDIA GeForce RTX 5090", kind=DeviceKind.GPU),
                read_s=NOW_S - 0.2,
                state=DeviceState.OK,
                total_bytes=32768 * MiB,
                free_bytes=15534 * MiB,
                utilization_percent=45.2,
                temperature_c=61.0,
            ),
            foreign_bytes=0,
            headroom_bytes=512 * MiB,
            available_bytes=15022 * MiB,
            charged_bytes=17234 * MiB,
        ),
    ),
    residents=(RESIDENT,),
    leases=(_REQUEST,),
    queue=(),
    pinned=frozenset(),
    breakers={},
)
_LEASED = replace(SNAPSHOT, residents=(RESIDENT, _ROOM), leases=(_OWNED, _ROOM_LEASE))
_LOADING = Operation(
    id="op-17",
    kind="load",
    model=_QWEN.name,
    state=OperationState.LOADING,
    created_at=LOADED_AT - timedelta(seconds=14.2),
)

# --- answers -------------------------------------------------------------------------------------

_DOWNLOAD = Download(
    source="org/Ovi-GGUF:Q8_0",
    file="Ovi-Q8_0.gguf",
    phase=Phase.DOWNLOADING,
    started_s=LOADED_S,
    done_bytes=5_400_000_000,
    total_bytes=23_600_000_000,
    rate=92_000_000.0,
)
FILES: models.FileList = {
    "files": [
        {"file": "/srv/models/gemma-3-4b-Q4_K_M.gguf", "service": "local", "size_mb": 2374},
    ]
}
STATUS = shaping.status(SNAPSHOT, [_DOWNLOAD], [speed_examples.SPEED])
ITSELF: shapes.Itself = {
    "config": "/etc/vram-orchestrator/orchestrator.yaml",
    "state_dir": "/var/lib/vram-orchestrator",
    "folders": ["/srv/models"],
    "services": {"local": "llama_cpp"},
    "service": "local",
}

DEVICES: shapes.DeviceList = {"devices": STATUS["devices"]}
LOADED = shaping.load_answer(
    LoadOutcome(
        resident=RESIDENT, lease=None, evicted=(_WHISPER,), already_loaded=False, waited_s=14.2
    ),
    HOST,
)
ACCEPTED = shaping.accepted(_LOADING, 14.0)
UNLOADED = shaping.unload_answer(
    UnloadOutcome(
        spec=_QWEN,
        status=UnloadStatus.UNLOADED,
        freed_bytes=17234 * MiB,
        verified=True,
        remaining_leases=0,
    )
)
_LEAVING = {_QWEN.name: "idle for 12 s"}
PLAN = shaping.plan_answer(
    Preview(
        spec=_OVI,
        plan=Plan(_OVI, Placement(((GPU, 22528 * MiB),)), evict=(RESIDENT,), reasons=_LEAVING),
        refusal=None,
        available_bytes=15022 * MiB,
        eta_s=25.0,
        already_loaded=False,
    ),
    HOST,
)
_ON_GPU = Share(4403 * MiB, 1024 * MiB, 282 * MiB, 600 * MiB)
_ON_HOST = Share(281 * MiB, 0, 24 * MiB)
ESTIMATE = shaping.estimate_answer(
    Appraisal(
        replace(_QWEN, name=ModelName("llama-3.1-8b"), file="/models/Llama-3.1-8B-Q4_K_M.gguf"),
        Estimate("llama", Method.HEADER, (_ON_GPU,), _ON_HOST),
        Footprint(device_bytes=6309 * MiB, host_bytes=389 * MiB, host_only_bytes=6210 * MiB),
    )
)
MODEL = models.model_answer(_QWEN, SNAPSHOT)
CATALOGUE: shapes.ModelList = {
    "object": "list",
    "data": [models.entry(_QWEN, RESIDENT, SNAPSHOT)],
}
PINNED: shapes.Pinned = {"model": _QWEN.name, "pinned": True}
UNPINNED: shapes.Pinned = {"model": _QWEN.name, "pinned": False}
LOGS: shapes.Logs = {"model": _QWEN.name, "lines": ["server is listening"]}
ROOM = shaping.room_answer(
    RoomOutcome(lease=_ROOM_LEASE, resident=_ROOM, evicted=(_WHISPER,), durable=True)
)
ROOMS: shapes.RoomLeases = {"leases": shaping.room_leases(_LEASED)}
MODEL_LEASES: shapes.ModelLeases = {"leases": shaping.model_leases(_LEASED)}
RENEWED = shaping.renewed(replace(_ROOM_LEASE, expires_s=LOADED_S + 1200))
OPERATION = shaping.operation(
    replace(_LOADING, state=OperationState.SUCCEEDED, finished_at=LOADED_AT), None
)
_EVICTED = Decide(
    kind=DecisionKind.EVICT,
    model=_WHISPER,
    text="whisperx leaves: qwen3-vl-30b needs 17408 MB and 12000 MB were free.",
    why="idle for 80 s, lowest priority",
    evicted=(_WHISPER,),
)
EVENTS: event_shapes.Events = {
    "events": [happenings.decision(DecisionRecord(id=42, at=LOADED_AT, decision=_EVICTED))],
    "next_before": 42,
}
_ANSWERED = RequestRecord(
    id=4711,
    began_at=LOADED_AT - timedelta(seconds=16.8),
    ended_at=LOADED_AT + timedelta(seconds=2.4),
    asked="qwen",
    model=_QWEN.name,
    instance=RESIDENT.instance,
    protocol="openai",
    path="/v1/chat/completions",
    client="192.168.1.20",
    owner="n8n",
    streaming=True,
    priority=None,
    wait_s=16.8,
    load_s=14.2,
    first_byte_s=16.95,
    why="ovi leaves for it, then it loads.",
    outcome=Outcome.ANSWERED,
    status=200,
    tokens_in=412,
    tokens_out=187,
    tokens_per_s=82.6,
)
_WRITING = replace(
    _ANSWERED,
    id=4712,
    began_at=LOADED_AT + timedelta(seconds=70),
    ended_at=None,
    wait_s=0.0,
    load_s=0.0,
    first_byte_s=0.12,
    why="",
    outcome=None,
    tokens_in=None,
    tokens_out=None,
    tokens_per_s=None,
)
REQUEST = happenings.request(_ANSWERED, NOW_S)
REQUESTS: request_shapes.RequestList = {
    "running": [happenings.request(_WRITING, NOW_S)],
    "running_total": 1,
    "ended": [REQUEST],
    "next_before": None,
    "not_kept": 0,
}
CANCELLED: request_shapes.Cancelled = {"id": 4712, "status": "ending"}

# --- errors --------------------------------------------------------------------------------------

_ASKED = (
    ErrorAnswer(code=WebCode.BAD_ORIGIN, detail="A page of another origin may not do this."),
    ErrorAnswer(code=WebCode.METHOD_NOT_ALLOWED, detail="GET changes nothing here."),
    ErrorAnswer(code=WebCode.TOO_LARGE, detail="The body is larger than 1048576 bytes."),
    ErrorAnswer(code=WebCode.NOT_JSON, detail="The body is not application/json."),
    ErrorAnswer(code=WebCode.BAD_HOST, detail="This daemon does not answer to that name."),
    ErrorAnswer(code=WebCode.INVALID, detail="vram_mb should be greater than 0."),
    error_of_access(unauthorized()),
    ErrorAnswer(
        code=AccessCode.RATE_LIMITED,
        detail="The key k3v9x2mq (n8n) may have 60 requests a minute.",
        retry_after_s=12,
    ),
)
_REFUSED = (
    Refusal(code=RefusalCode.UNKNOWN_MODEL, detail="There is no model called qwen4."),
    Refusal(code=RefusalCode.IN_USE, detail="qwen3-vl-30b is in use by 1 request."),
    Refusal(
        code=RefusalCode.LOAD_FAILED,
        detail="qwen3-vl-30b did not come up: the model file is truncated.",
        failure=Failure(
            reason=FailureReason.MODEL_FILE, detail="It is truncated.", log_tail=("invalid magic",)
        ),
    ),
    Refusal(
        code=RefusalCode.NO_ROOM,
        detail="ovi needs 22528 MB and 15022 MB can be used now.",
        remedy="Wait, or unload one of the blockers.",
        needed_bytes=22528 * MiB,
        available_bytes=15022 * MiB,
        foreign_bytes=0,
        retry_after_s=10,
    ),
    Refusal(
        code=RefusalCode.DOES_NOT_FIT,
        detail="wan2.1-14b needs 65536 MB; the largest device has 32256 MB.",
        needed_bytes=65536 * MiB,
        available_bytes=32256 * MiB,
    ),
)
# By the status that the document tells of: a sentence, and the body.
ERRORS: Mapping[int, tuple[str, Mapping[str, object]]] = {
    answer.status: (answer.detail, error_body(answer, "/models/load"))
    for answer in (*_ASKED, *map(error_of, _REFUSED))
}
JOBS: event_shapes.Jobs = {
    "jobs": [
        happenings.job(
            JobRecord(
                name="sample",
                every_s=0.5,
                last_at=datetime.fromtimestamp(LOADED_S, UTC),
                last_s=0.004,
                next_at=datetime.fromtimestamp(LOADED_S + 0.5, UTC),
            )
        )
    ]
}
