"""/api/pull: brings a model from a hub and puts it into the catalogue, saying how far it is."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import hub
from orchestrator.config.loading import Config
from orchestrator.config.services import launches_files
from orchestrator.core.values.specs import ModelSpec, ModelSpecs, ServiceName
from orchestrator.downloads import Arriving, Downloads
from orchestrator.gateway.ollama.names import hub_reference, meant
from orchestrator.progress import Unwanted, in_thread
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip

PULLS_MAX = 2  # at once: more would only share the same line, and end later
TELL_S = 0.5  # between two lines: clients draw a bar of them
NAME_CHARS_MAX = 128

_CODES: Mapping[hub.Cause, WebCode] = {
    hub.Cause.INVALID: WebCode.INVALID,
    hub.Cause.NOT_FOUND: WebCode.NOT_FOUND,
    hub.Cause.GATED: WebCode.NOT_FOUND,
}
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._:@-]+", re.ASCII)
_GGUF = re.compile(r"[-_.]?gguf", re.IGNORECASE)

Line = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pullable:
    """What is to be brought, and what the catalogue is to call it; None: it is there already."""

    reference: str
    name: str | None = None


def pullable(name: str, specs: ModelSpecs) -> Pullable | None:
    """None: there is nothing to bring, its file is the operator's. Raise Answered."""
    known = specs.get(meant(name, specs))  # type: ignore[call-overload]
    if known is not None:
        return None if known.hub is None else Pullable(reference=_looked_at(known, known.hub))
    reference = hub_reference(name)
    if reference is None and name in hub.NAMES:
        reference = name
    if reference is None:
        raise Answered(_not_ours(name))
    try:
        wanted = hub.parse(reference)
    except hub.PullFailed as failed:
        raise Answered(refusal(failed)) from failed
    return Pullable(reference=reference, name=catalogue_name(reference, wanted))


def _looked_at(known: ModelSpec, reference: str) -> str:
    """Of ORG/REPO alone the file that the catalogue has sized, if it has: that one is meant."""
    wanted = hub.parse(reference)
    if wanted.file is not None or known.file is None:
        return reference
    path = hub.path_in_repository(Path(known.file))
    return reference if path is None else f"{reference}:{path}"


def catalogue_name(reference: str, wanted: hub.Reference) -> str:
    """Short, as people name models: `Qwen3-0.6B:Q8_0` of `Qwen/Qwen3-0.6B-GGUF:Q8_0`."""
    if reference in hub.NAMES:
        return reference
    repo = _GGUF.sub("", wanted.repo.rpartition("/")[2])
    if wanted.file is None:
        return _nameable(repo)
    file = Path(wanted.file).name.removesuffix(".gguf")
    return _nameable(f"{repo}:{file.removeprefix(repo).strip('-_.') or file}")


def _nameable(text: str) -> str:
    return _UNNAMEABLE.sub("-", text)[:NAME_CHARS_MAX]


def service_for(config: Config) -> ServiceName:
    """The first one that can run a file from a hub. Raise Answered if none can."""
    for name, entry in config.services.items():
        if launches_files(entry):
            return name
    raise Answered(
        ErrorAnswer(
            code=WebCode.CANNOT,
            detail="No service here runs models from a hub.",
            remedy="Configure a service with engine: llama_cpp or xllamacpp.",
        )
    )


class Pulls:
    """Brings files, so many at once. What has arrived of one that is left is kept for the next."""

    def __init__(
        self,
        access: hub.Access,
        patience: hub.Patience | None = None,
        *,
        downloads: Downloads | None = None,
    ) -> None:
        self._access = access
        self._downloads = downloads or Downloads()
        self._patience = patience
        self._turns = asyncio.Semaphore(PULLS_MAX)

    async def lines(self, reference: str) -> AsyncIterator[Line]:
        """How far it is, as Ollama's clients draw it, until it is here. Raise Answered."""
        digest = f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"
        yield {"status": "pulling manifest"}
        while self._turns.locked():
            yield {"status": f"waiting for {PULLS_MAX} other downloads", "digest": digest}
            await asyncio.sleep(TELL_S)
        async with self._turns, aclosing(self._told(reference, digest)) as told:
            async for line in told:
                yield line

    async def _told(self, reference: str, digest: str) -> AsyncGenerator[Line, None]:
        with self._downloads.one(reference) as arriving:
            seen = _Seen(arriving)
            pulling = in_thread(lambda: self._pull(reference, seen), "pull")
            try:
                said: hub.Progress | None = None
                while True:
                    ended = pulling.done()
                    if seen.latest is not None and seen.latest != said:
                        said = seen.latest
                        yield _line(said, digest)
                    if ended:
                        break
                    await asyncio.wait({pulling}, timeout=TELL_S)
                pulling.result()
            except hub.PullFailed as failed:
                raise Answered(refusal(failed)) from failed
            finally:
                seen.wanted = False
                pulling.cancel()

    def _pull(self, reference: str, seen: "_Seen") -> Path:
        access = self._access
        return hub.pull(
            reference,
            home=access.home,
            endpoint=access.endpoint,
            token=access.token,
            progress=seen.say,
            patience=self._patience,
        )


class _Seen:
    """The last word of one download; its thread writes it, the loop reads it."""

    def __init__(self, arriving: Arriving) -> None:
        self._arriving = arriving
        self.latest: hub.Progress | None = None
        self.wanted = True

    def say(self, progress: hub.Progress) -> None:
        if not self.wanted:
            raise Unwanted
        self.latest = progress
        self._arriving.hear(progress)


def refusal(failed: hub.PullFailed) -> ErrorAnswer:
    code = _CODES.get(failed.cause, WebCode.UNAVAILABLE)
    return ErrorAnswer(code=code, detail=failed.detail, remedy=failed.remedy)


def _line(progress: hub.Progress, digest: str) -> Line:
    """With a digest, whatever it says: Open WebUI shows each line without one as a notice."""
    words = replace(progress, total_bytes=0).in_words()  # the numbers go beside it
    counts = {"total": progress.total_bytes, "completed": progress.done_bytes}
    return {"status": words, "digest": digest, **(counts if progress.total_bytes else {})}


def _not_ours(name: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.NOT_FOUND,
        detail=f"There is no model {clip(name)!r} in the catalogue, and Ollama's library is not "
        "pulled from here.",
        remedy="Name a GGUF on a hub, as hf.co/ORG/REPO:Q4_K_M, or add the model to the catalogue.",
    )
