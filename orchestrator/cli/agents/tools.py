"""The tools, and what they ask of the daemon. Nothing here knows the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from orchestrator.cli.client import ANSWER_S, NotReached, RefusedByDaemon, Remote

WAIT_S_DEFAULT, WAIT_S_MAX = 240.0, 3600.0
UNLOAD_WAIT_S = 120.0
DECISIONS_MAX = 20  # of one model: an agent reads all of them


class ToolRefused(Exception):
    """What was in the way, and what helps, for an agent to read."""


class Tools:
    """Every method is a tool; its docstring is what the agent reads about it."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def status(self) -> dict[str, Any]:
        """Which models are loaded on which GPU, how much VRAM a load may use, who waits for what
        and for how long at most. Sizes are in MiB. Changes nothing.
        """
        return self._ask("GET", "/models/status")

    def plan(self, model: str, context_size: int | None = None) -> dict[str, Any]:
        """What loading a model would do: whether it fits, where it would go, which models would
        have to leave. Changes nothing; ask it before `load` where others use the GPU.
        """
        return self._ask("POST", "/models/plan", {"model": model, "context_size": context_size})

    def load(
        self,
        model: str,
        owner: str | None = None,
        lease_seconds: float | None = None,
        wait_seconds: float = WAIT_S_DEFAULT,
    ) -> dict[str, Any]:
        """Have a model ready; others that are idle may have to leave for it. With `owner` it is
        kept for you for `lease_seconds`: `release` that lease when you are done. Returns where
        the model answers.
        """
        wait_s = min(max(wait_seconds, 0.0), WAIT_S_MAX)
        order = {"model": model, "owner": owner, "lease_seconds": lease_seconds, "wait": wait_s}
        return self._ask("POST", "/models/load", order, wait_s=wait_s)

    def unload(self, model: str, force: bool = False) -> dict[str, Any]:
        """Let a model go and free its VRAM. What it serves is finished first; `force` cuts it, and
        takes it from its other users: only if a person asked for that.
        """
        order = {"model": model, "force": force, "wait": UNLOAD_WAIT_S}
        return self._ask("POST", "/models/unload", order, wait_s=UNLOAD_WAIT_S)

    def lease(
        self,
        vram_mb: int,
        owner: str,
        seconds: float,
        device: str | None = None,
        wait_seconds: float = WAIT_S_DEFAULT,
    ) -> dict[str, Any]:
        """Reserve VRAM for work that is no model of this daemon, such as a training or a render.
        Ends by itself after `seconds`, or by `release`.
        """
        wait_s = min(max(wait_seconds, 0.0), WAIT_S_MAX)
        order = {"vram_mb": vram_mb, "owner": owner, "ttl_seconds": seconds, "device": device}
        return self._ask("POST", "/vram/leases", {**order, "wait": wait_s}, wait_s=wait_s)

    def release(self, lease_id: str) -> dict[str, Any]:
        """Give back a lease that `load` or `lease` has returned. What has ended is no error."""
        self._ask("DELETE", f"/leases/{quote(lease_id, safe='')}")
        return {"released": lease_id}

    def why(self, model: str) -> dict[str, Any]:
        """The last decisions about a model, newest first: why it was loaded, evicted or refused,
        and what helps. Changes nothing.
        """
        asked = urlencode({"model": model, "limit": DECISIONS_MAX})
        found = self._ask("GET", f"/events?{asked}")["events"]
        return {"model": model, "decisions": found}

    def _ask(
        self,
        method: str,
        path: str,
        order: Mapping[str, Any] | None = None,
        *,
        wait_s: float = 0.0,
    ) -> dict[str, Any]:
        """Raise ToolRefused."""
        body = order and {key: value for key, value in order.items() if value is not None}
        try:
            answer = self._remote.ask(method, path, body, timeout_s=wait_s + ANSWER_S)
        except RefusedByDaemon as refused:
            said = (refused.body.get("detail"), refused.body.get("remedy"))
            code = refused.body.get("code", refused.status)
            raise ToolRefused(" ".join([f"{code}:", *filter(None, map(_text, said))])) from refused
        except NotReached as error:
            raise ToolRefused(f"{error} {error.remedy}") from error
        return dict(answer.body)


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""
