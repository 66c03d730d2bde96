"""What one request asks for: read from its head, and from as little of its body as will do."""

from dataclasses import dataclass
from urllib.parse import parse_qs

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.config.scalars import PRIORITY_MAX
from orchestrator.gateway.forms import field
from orchestrator.gateway.members import NotAnObject, Scalar, members
from orchestrator.gateway.paths import Call, FoundCall, NamedIn, Protocol, Task, find
from orchestrator.orders import NAME_CHARS_MAX, WAIT_S_MAX
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip

PRIORITY = b"x-priority"
OWNER = b"x-owner"
DEADLINE = b"x-deadline-seconds"
CONVERSATION = b"x-conversation-id"  # llama.cpp's: the answer can be gone on with under it

# Not passed on: about this hop of the way, for us, or a secret between the client and us.
KEPT_BACK = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect"),
        *(b"authorization", b"x-api-key", b"cookie", b"origin", b"referer"),
        *(PRIORITY, OWNER, DEADLINE, b"x-forwarded-for"),
        *(b"x-forwarded-proto", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"),
    }
)
ID_CHARS_MAX = 300
_MEMBERS = ("model", "stream", "previous_response_id")
_STREAMS = frozenset({Task.CHAT, Task.COMPLETION, Task.RESPONSES})

Headers = list[tuple[bytes, bytes]]
First = dict[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    call: Call
    method: str
    target: str  # path and query at the model's server
    headers: Headers  # to be passed on
    named: str | None  # the model, as the request has it
    conversation: str | None = None  # under which the answer can be gone on with
    earlier: str | None = None  # an answer or conversation of before, whose model is meant
    streams: bool = False  # its answer is a stream of events
    priority: int | None = None
    owner: str | None = None
    wait_s: float
    context_size: int | None = None
    rights: Rights = EVERYTHING
    reached: int = 0  # how many times its server was asked before, and did not answer

    @property
    def protocol(self) -> Protocol:
        return self.call.protocol


def read(found: FoundCall, method: str, headers: Headers, query: bytes, body: bytes) -> Asked:
    """Raise Answered where the request says nothing that can be understood."""
    call = found.call
    first = dict(reversed(headers))  # of a header that stands there twice
    said = _said(call, first, body)
    named, earlier = found.model, found.id
    if call.named_in in (NamedIn.QUERY, NamedIn.CONVERSATION):
        fields = parse_qs(query.decode("latin-1"))
        named = next(iter(fields.get("model", ())), None)
        earlier = _one_id(found.id, fields)
    elif call.named_in in (NamedIn.BODY, NamedIn.FORM):
        named = _name(said.get("model"))
        earlier = _name(said.get("previous_response_id"))
    if call.named_in is NamedIn.PATH and (within := find(method, found.path)) is not None:
        # Below /upstream/: what it asks on with is looked at all the same.
        earlier = _one_id(within.id, parse_qs(query.decode("latin-1")))
    target = f"{found.path}?{query.decode('latin-1')}" if query else found.path
    return Asked(
        call=call,
        method=method,
        target=target,
        headers=[header for header in headers if header[0] not in KEPT_BACK],
        named=named,
        conversation=_value(first, CONVERSATION).decode("latin-1")[:ID_CHARS_MAX] or None,
        earlier=earlier,
        streams=said.get("stream") is True and call.task in _STREAMS,
        priority=_priority(first),
        owner=_owner(first),
        wait_s=_wait_s(first),
    )


def _one_id(in_path: str | None, fields: dict[str, list[str]]) -> str | None:
    """Of the conversation that is meant: of two, servers heed one or the other."""
    ids = {*fields.get("conv_id", ()), *(() if in_path is None else (in_path,))}
    if len(ids) > 1:
        raise _wrong("conv_id", "must name one conversation, as the path does")
    return next(iter(ids), None)


def _said(call: Call, headers: First, body: bytes) -> dict[str, Scalar]:
    kind = _value(headers, b"content-type")
    if call.named_in is NamedIn.FORM and kind.startswith(b"multipart/"):
        return {"model": field("model", body, kind)}
    if call.named_in not in (NamedIn.BODY, NamedIn.FORM) or not body:
        return {}
    try:
        return members(body, _MEMBERS)
    except NotAnObject as error:
        raise Answered(
            ErrorAnswer(
                code=WebCode.INVALID,
                detail=f"The body is no JSON object: {clip(str(error))}.",
                remedy='Send an object with a member "model": GET /v1/models lists the models.',
            )
        ) from error


def _name(said: Scalar) -> str | None:
    if said is None or said == "":
        return None
    if not isinstance(said, str) or len(said) > NAME_CHARS_MAX:
        raise _wrong("model", f"must be a name of at most {NAME_CHARS_MAX} characters")
    return said


def _priority(headers: First) -> int | None:
    said = _value(headers, PRIORITY)
    if not said:
        return None
    try:
        priority = int(said)
    except ValueError:
        priority = PRIORITY_MAX + 1
    if abs(priority) > PRIORITY_MAX:
        raise _wrong("X-Priority", f"must be a whole number of at most {PRIORITY_MAX}")
    return priority


def _owner(headers: First) -> str | None:
    said = _value(headers, OWNER)
    if len(said) > NAME_CHARS_MAX:
        raise _wrong("X-Owner", f"must be at most {NAME_CHARS_MAX} characters")
    return said.decode("latin-1") or None


def _wait_s(headers: First) -> float:
    said = _value(headers, DEADLINE)
    if not said:
        return WAIT_S_MAX
    try:
        wait_s = float(said)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= WAIT_S_MAX:
        raise _wrong("X-Deadline-Seconds", f"must be a number from 0 to {WAIT_S_MAX:g}")
    return wait_s


def _wrong(what: str, rule: str) -> Answered:
    return Answered(ErrorAnswer(code=WebCode.INVALID, detail=f"{what} {rule}."))


def _value(headers: First, wanted: bytes) -> bytes:
    return headers.get(wanted, b"").strip(b" \t")
