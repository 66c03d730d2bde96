"""What both shells share: how a question is put to httpx, and how its failures are read."""

from __future__ import annotations

import httpx

from orchestrator.client.exchanges import ANSWER_BYTES_MAX, Ask, NoReply, Reply

CONNECT_S = 5.0


def timeout(ask: Ask) -> httpx.Timeout:
    return httpx.Timeout(ask.timeout_s, connect=min(CONNECT_S, ask.timeout_s))


def headers(ask: Ask, api_key: str | None) -> httpx.Headers:
    """In UTF-8: an owner may have any name."""
    accept = "text/event-stream" if ask.streamed else "application/json"
    key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    return httpx.Headers({"Accept": accept, **key, **ask.headers}, encoding="utf-8")


def reply_of(response: httpx.Response, body: bytes, took_s: float, stream: object = None) -> Reply:
    return Reply(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        took_s=took_s,
        stream=stream,
    )


def too_long(url: str, body: bytearray, took_s: float) -> NoReply | None:
    """Of a body that goes on and on."""
    if len(body) <= ANSWER_BYTES_MAX:
        return None
    return NoReply(
        detail=f"The answer of {url} has more than {ANSWER_BYTES_MAX} bytes.", took_s=took_s
    )


def no_reply(url: str, error: httpx.RequestError, timeout_s: float, took_s: float) -> NoReply:
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return NoReply(
            detail=f"{url} did not answer within {timeout_s:.0f} s.", timed_out=True, took_s=took_s
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NoReply(detail=f"Nothing answers at {url}.", took_s=took_s)
    said = str(error) or type(error).__name__
    return NoReply(detail=f"{url} broke off: {said}.", took_s=took_s)
