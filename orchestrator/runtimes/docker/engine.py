"""The Docker Engine as we use it: with `client.py`, all that knows the Docker SDK.

The SDK blocks, so every call runs in a thread and has a deadline: an engine that hangs costs the
caller that long and the event loop nothing. A client that lost its engine is thrown away; the
next call makes a new one, so an engine that comes back is found without being asked to.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import docker
import docker.errors
import requests
import urllib3.exceptions

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.answers import (
    Container,
    ContainerEvent,
    EngineRefused,
    Network,
    PullLine,
    container_in,
    events_in,
    network_in,
    pull_line,
    understood,
)
from orchestrator.runtimes.docker.client import DockerClient
from orchestrator.runtimes.docker.create import Json
from orchestrator.runtimes.docker.liveness import Liveness

T = TypeVar("T")

THREADS_MAX = 16  # calls under way at once, and threads that a hanging engine can block
# What a proxy in front of the engine (our guard) says when the engine is gone.
GATEWAY_STATUSES = frozenset({502, 503, 504})
ENDED = ("exited", "dead")  # of containers: no process is in them
EVENTS_WANTED = ("die", "oom", "destroy", "start")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long one call may take before the engine counts as unreachable."""

    call_s: float = 10.0  # reads take milliseconds; ten seconds are a hang
    create_s: float = 30.0  # a cold disk
    start_s: float = 60.0  # the GPU hook may have to load a driver first
    stop_margin_s: float = 15.0  # beyond the grace period: the engine's own kill and clean-up
    kill_s: float = 15.0
    remove_s: float = 30.0  # unmounts a file system


class DockerEvents:
    """An open event stream. Iterating blocks; closing from another thread ends it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[ContainerEvent]:
        """Ends when the stream does. Raise Unreachable if it never was one."""
        try:
            yield from events_in(self._stream)
        except (
            requests.RequestException,
            docker.errors.DockerException,
            urllib3.exceptions.HTTPError,
            OSError,
        ) as error:
            raise Unreachable(f"Docker's event stream broke: {error}") from error

    def close(self) -> None:
        # The stream may have ended a moment ago: then there is nothing left to close.
        with suppress(OSError, AttributeError):
            self._stream.close()


class DockerEngine:
    def __init__(self, url: str, deadlines: Deadlines | None = None) -> None:
        self.url = url
        self.deadlines = deadlines or Deadlines()
        self._client: DockerClient | None = None
        self._closed = False
        self._lock = threading.Lock()  # of the two above
        self.liveness = Liveness(f"Docker at {url}")
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="docker")

    async def api_version(self) -> str:
        """The newest that the engine speaks. Raise Unreachable or EngineRefused."""
        said = await self._read(lambda client: client.version(api_version=False))
        return str(said["ApiVersion"])

    async def create(self, name: str, body: Mapping[str, Json]) -> str:
        """Return the id of a new container. Raise EngineRefused if the engine does not want it."""
        created = await self._call(
            lambda client: client.create_container_from_config(dict(body), name),  # type: ignore[no-untyped-call]
            self.deadlines.create_s,
        )
        return str(created["Id"])

    async def put_archive(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack it into a container that was created."""
        await self._call(
            lambda client: client.put_archive(container, folder, archive), self.deadlines.call_s
        )

    async def network(self, name: str) -> Network | None:
        """None: there is none. Raise as `inspect` does."""
        seen = await self._find(lambda client: client.inspect_network(name))
        with understood("a network"):
            return None if seen is None else network_in(seen)

    async def create_network(
        self, name: str, options: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """A bridge that leads nowhere; one that was made meanwhile is not an error. Raise
        EngineRefused.
        """
        try:
            await self._call(
                lambda client: client.create_network(
                    name,
                    driver="bridge",
                    options=dict(options),
                    check_duplicate=True,
                    internal=True,
                    labels=dict(labels),
                ),
                self.deadlines.create_s,
            )
        except EngineRefused as refused:
            if not refused.conflict:
                raise

    async def in_networks(self, labels: Mapping[str, str]) -> Mapping[str, Mapping[str, bool]]:
        """The containers with these labels by the network that they run in, or would run in; and
        whether one has ended. The newest first.
        """
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        listed = await self._read(lambda client: client.containers(all=True, filters=filters))
        with understood("a list of containers"):
            found: dict[str, dict[str, bool]] = {}
            for each in listed:
                mates = found.setdefault(each["HostConfig"]["NetworkMode"], {})
                mates[each["Id"]] = each["State"] in ENDED
            return found

    async def start(self, container: str) -> None:
        await self._call(lambda client: client.start(container), self.deadlines.start_s)

    async def stop(self, container: str, grace_s: int) -> None:
        """Return when the engine says that it has stopped, by force once the grace is over."""
        await self._call(
            lambda client: client.stop(container, timeout=grace_s),
            grace_s + self.deadlines.stop_margin_s,
        )

    async def kill(self, container: str) -> None:
        await self._call(lambda client: client.kill(container), self.deadlines.kill_s)

    async def remove(self, container: str, *, force: bool = False) -> None:
        """Return when Docker does not know it any more; removing what is gone is not an error."""
        try:
            await self._call(
                lambda client: client.remove_container(container, v=True, force=force),
                self.deadlines.remove_s,
            )
        except EngineRefused as refused:
            if not refused.not_there:
                raise

    async def inspect(self, container: str) -> Container | None:
        """None: there is no such container. Raise Unreachable if Docker does not tell."""
        seen = await self._find(lambda client: client.inspect_container(container))
        with understood("an inspection"):
            return None if seen is None else container_in(seen)

    async def list_ids(self, labels: Mapping[str, str]) -> list[str]:
        """Containers in any state that carry all these labels."""
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        listed = await self._read(lambda client: client.containers(all=True, filters=filters))
        with understood("a list of containers"):
            return [str(container["Id"]) for container in listed]

    async def list_running(self, labels: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
        """Containers that run and carry all these labels → all labels they carry."""
        filters = {
            "label": [f"{name}={value}" for name, value in labels.items()],
            "status": ["running"],
        }
        listed = await self._read(lambda client: client.containers(filters=filters))
        with understood("a list of containers"):
            return {str(container["Id"]): container["Labels"] or {} for container in listed}

    async def image_id(self, image: str) -> str | None:
        """What the name stands for now; None: there is no such image. Raise as `inspect` does."""
        seen = await self._find(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        with understood("an image"):
            return None if seen is None else str(seen["Id"])

    async def pull(self, image: str, hear: Callable[[PullLine], None]) -> None:
        """Return when the image is here. Raise EngineRefused if its registry does not give it.

        `hear` is called in a thread; what it raises ends the pull. An engine that says nothing for
        a minute counts as unreachable.
        """

        def do(client: DockerClient) -> None:
            for said in client.pull(image, stream=True, decode=True):
                hear(pull_line(said))

        await asyncio.get_running_loop().run_in_executor(self._threads, self._guarded, do)

    async def processes(self, container: str) -> frozenset[int]:
        """Ids of all its processes, as the engine's host counts them."""
        table = await self._read(lambda client: client.top(container))
        with understood("a list of processes"):
            column = table["Titles"].index("PID")
            return frozenset(int(row[column]) for row in table["Processes"] or ())

    async def log(self, container: str, lines: int, *, timestamps: bool = False) -> tuple[str, ...]:
        text = await self._read(
            lambda client: client.logs(container, tail=lines, timestamps=timestamps)
        )
        return tuple(text.decode(errors="replace").splitlines())

    def open_events(self, filters: Mapping[str, str | list[str]]) -> DockerEvents:
        """Open the engine's event stream. Blocks: for a thread of its own."""
        wanted = {"type": "container", "event": list(EVENTS_WANTED), **filters}
        return DockerEvents(self._guarded(lambda client: client.events(filters=wanted)))

    def close(self) -> None:
        """Calls under way end by their own deadlines; nothing new begins."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._drop_client()

    async def _find(
        self, do: Callable[[DockerClient], Mapping[str, Any]]
    ) -> Mapping[str, Any] | None:
        try:
            return await self._read(do)
        except EngineRefused as refused:
            if refused.not_there:
                return None
            raise

    async def _read(self, do: Callable[[DockerClient], T]) -> T:
        """A call that changes nothing, so a connection that has gone stale costs a second try."""

        def ask(client: DockerClient) -> T:
            with self.liveness.awaited():  # it is answered within milliseconds
                return do(client)

        try:
            return await self._call(ask, self.deadlines.call_s)
        except _ConnectionLost:
            return await self._call(ask, self.deadlines.call_s)

    async def _call(self, do: Callable[[DockerClient], T], deadline_s: float) -> T:
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._threads, self._guarded, do)
        try:
            # Not wait_for: in Python 3.11 it may lose a cancellation that comes with the answer.
            async with asyncio.timeout(deadline_s):
                return await answer
        except TimeoutError:
            self._drop_client()
            raise Unreachable(
                f"Docker at {self.url} has not answered for {deadline_s:g} s. "
                "Look at `docker info` and at the engine's log."
            ) from None

    def _guarded(self, do: Callable[[DockerClient], T]) -> T:
        """Run in a thread; what the SDK raises becomes one of our own errors here, once."""
        try:
            answer = do(self._connected())
        except docker.errors.APIError as error:
            status = error.response.status_code if error.response is not None else 500
            text = str(error.explanation or error)
            if status in GATEWAY_STATUSES:
                problem = f"Docker behind {self.url} does not answer: {text}"
                self.liveness.lost(problem)
                raise Unreachable(problem) from error
            self.liveness.came()
            raise EngineRefused(status, text) from error
        except (
            requests.RequestException,
            docker.errors.DockerException,
            urllib3.exceptions.HTTPError,
            OSError,
        ) as error:
            self._drop_client()
            problem = (
                f"Docker at {self.url} cannot be reached: {_system_error(error)}. "
                "Is the engine running, and may this process use its socket?"
            )
            self.liveness.lost(problem)
            raise _ConnectionLost(problem) from error
        self.liveness.came()
        return answer

    def _connected(self) -> DockerClient:
        """The client of all threads. Raise Unreachable after `close`."""
        client = self._client
        if client is None:
            # "auto" negotiates the version: engines are older and newer than the SDK.
            fresh = DockerClient(self.url, "auto", self._socket_timeout_s())
            with self._lock:
                if self._client is None and not self._closed:
                    self._client = fresh
                client = self._client
            if client is not fresh:  # another thread was first, or it is too late
                fresh.close()
        if client is None:
            raise Unreachable(f"Docker at {self.url} is asked nothing any more: the daemon ends.")
        return client

    def _socket_timeout_s(self) -> int:
        # Frees the thread of a call that was given up; never before its deadline.
        longest_s = max(self.deadlines.start_s, self.deadlines.create_s, self.deadlines.remove_s)
        return int(longest_s) + 1

    def _drop_client(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def _system_error(error: BaseException) -> BaseException:
    """What the kernel said, if that is at the bottom of it; else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


class _ConnectionLost(Unreachable):
    """The connection broke, which an idle one does when the engine was restarted meanwhile."""
