"""What a daemon and a server answer, for the tests of both shells."""

import json
from typing import Any

from orchestrator.web.wire import examples
from tests.stand_in import StandIn

ANSWER = {
    "model": "chat",
    "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}
HELD = {**examples.LOADED, "lease_id": "l-1", "expires_at": "2026-01-15T10:40:00.000Z"}
RENEWED = {"lease_id": "l-1", "owner": "me", "expires_at": "2026-01-15T10:50:00.000Z"}
GONE = (404, {"code": "not_found", "detail": "There is no such lease."})
CHAT = "POST /v1/chat/completions"


def events(*texts: str, end: bool = True, error: dict[str, Any] | None = None) -> bytes:
    """An answer in pieces, with a comment before it, as a model that loads makes them."""
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    chunks += [] if error is None else [{"error": error}]
    body = ": loading\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return (body + ("data: [DONE]\n\n" if end else "")).encode()


def fill(server: StandIn) -> None:
    """With an answer to everything that a client asks of a daemon."""
    server.answers |= {
        CHAT: ANSWER,
        "GET /models/status": examples.STATUS,
        "GET /v1/models": examples.CATALOGUE,
        "GET /health": {"status": "healthy"},
        "POST /models/load": HELD,
        "POST /models/plan": examples.PLAN,
        "POST /models/unload": examples.UNLOADED,
        "POST /vram/leases": (201, examples.ROOM),
        "PUT /leases/l-1": RENEWED,
        "PUT /vram/leases/lease-9": RENEWED,
        "DELETE /leases/l-1": (200, {"durable": False}),
        "DELETE /vram/leases/lease-9": (200, {"durable": False}),
        "GET /models/chat": {"resident": None, "serving": None, "context_size": 4096},
        "POST /apply-template": {"prompt": "<s>hello"},
        "POST /tokenize": {"tokens": [1, 2]},
    }


def asked(server: StandIn) -> list[str]:
    return [f"{method} {path}" for method, path, _, _ in server.asked]
