"""The one HTTP client with which all talkers ask model servers, however many there are."""

from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from pydantic_core import from_json

from orchestrator.access.resident_keys import Bearer, no_bearer
from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import CannotAsk, limit_reached

CONNECTIONS_MAX = 100  # at once; more questions wait for one of them
IDLE_S = 4.0  # below the 5 s after which llama-server closes a silent connection
ANSWER_BYTES_MAX = 4 << 20  # a thousand slots, or as many counters; more is no answer of a server's


class NoAnswer(Exception):
    """A server did not answer, or not with what can be read."""


class TooSlow(NoAnswer):
    """It took the question, and no answer came in time."""


@dataclass(frozen=True, slots=True)
class ToldByServer:
    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> object:
        """Raise ValueError, also where it is too deep."""
        said: object = from_json(self.body)
        return said


class ServerHttp:
    """Every method raises NoAnswer if no answer comes in time, or CannotAsk."""

    def __init__(self, bearer: Bearer = no_bearer) -> None:
        """`bearer` knows the keys of servers that have some."""
        self._bearer = bearer
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, endpoint: Endpoint, path: str, timeout_s: float) -> ToldByServer:
        return await self._ask("GET", endpoint.url + path, timeout_s)

    async def post(
        self, endpoint: Endpoint, path: str, body: dict[str, str], timeout_s: float
    ) -> ToldByServer:
        return await self._ask("POST", endpoint.url + path, timeout_s, body)

    async def _ask(
        self, method: str, url: str, timeout_s: float, body: dict[str, str] | None = None
    ) -> ToldByServer:
        timeout = aiohttp.ClientTimeout(
            total=2 * timeout_s, connect=timeout_s, sock_connect=timeout_s, sock_read=timeout_s
        )
        known = self._bearer(url)
        headers = None if known is None else {"Authorization": known}
        try:
            async with self._http().request(
                method, url, json=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                said = b""
                while len(said) < ANSWER_BYTES_MAX and (more := await answer.content.readany()):
                    said += more
                return ToldByServer(answer.status, said)
        except aiohttp.ConnectionTimeoutError as error:
            raise NoAnswer(f"no connection within {timeout_s:g} s") from error
        except TimeoutError as error:
            raise TooSlow(f"no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            if limit_reached(error):
                raise CannotAsk(f"a server could not be asked: {error}") from error
            raise NoAnswer(str(error) or type(error).__name__) from error

    def _http(self) -> aiohttp.ClientSession:
        """Made in the loop that asks; a proxy of the environment knows nothing of our loopback."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
