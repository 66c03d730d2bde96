"""The one HTTP client with which all talkers ask model servers, however many there are."""

from collections.abc import Awaitable

import httpx

from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import CannotAsk, limit_reached

CONNECTIONS_MAX = 100  # kept open to model servers; more are opened and closed again


class ServerHttp:
    """Every method raises httpx.HTTPError if no answer comes in time, or CannotAsk."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            trust_env=False,  # a proxy of the environment knows nothing of our loopback ports
            follow_redirects=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
            ),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, endpoint: Endpoint, path: str, timeout_s: float) -> httpx.Response:
        return await _asked(self._client.get(endpoint.url + path, timeout=timeout_s))

    async def post(
        self, endpoint: Endpoint, path: str, body: dict[str, str], timeout_s: float
    ) -> httpx.Response:
        return await _asked(self._client.post(endpoint.url + path, json=body, timeout=timeout_s))


async def _asked(asking: Awaitable[httpx.Response]) -> httpx.Response:
    try:
        return await asking
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        if limit_reached(error):
            raise CannotAsk(f"a server could not be asked: {error}") from error
        if isinstance(error, httpx.HTTPError):
            raise
        raise httpx.TransportError(str(error)) from error
