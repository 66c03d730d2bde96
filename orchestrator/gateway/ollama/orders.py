"""What Ollama's clients ask of the daemon itself: its lists, its version, a model to take out."""

import asyncio

from orchestrator.access.rights import Rights
from orchestrator.catalogue.facts import FactSheets
from orchestrator.core.values.specs import ModelName
from orchestrator.desk.desk import Desk
from orchestrator.desk.permits import seen, visible
from orchestrator.gateway.ollama import listing
from orchestrator.gateway.ollama.names import meant
from orchestrator.gateway.ollama.paths import DELETE, NOT_HERE, PS, ROOT, SHOW, TAGS
from orchestrator.gateway.ollama.requests import ModelWanted, read
from orchestrator.web.audited import before_acting
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, encode

RUNNING = b"Ollama is running"  # what clients look for before they believe that it is one


class Orders:
    def __init__(self, desk: Desk, facts: FactSheets) -> None:
        self._desk = desk
        self._facts = facts

    async def answer(self, path: str, body: bytes, rights: Rights) -> bytes:
        """Raise Answered, Denied, or what a change of the catalogue raises."""
        desk, facts = self._desk, self._facts
        if path == ROOT:
            return RUNNING
        if path == TAGS:
            specs = visible(desk.catalogue, rights)
            return encode(listing.tags(specs, await asyncio.to_thread(facts.of_all, specs)))
        if path == PS:
            snapshot = seen(desk.snapshot(), rights)
            specs = {each.name: each.spec for each in listing.running(snapshot)}
            known = {name: await asyncio.to_thread(facts.of, spec) for name, spec in specs.items()}
            return encode(listing.ps(snapshot, known))
        if path == SHOW:
            spec = desk.here_or_named(self._meant(body, rights), rights)
            return encode(listing.show(spec, await asyncio.to_thread(facts.of, spec)))
        if path == DELETE:
            name = self._meant(body, rights)
            desk.named(name, rights)
            await before_acting({"model": name})
            await desk.delete_model(name)
            return encode({"status": "success"})
        if path in NOT_HERE:
            raise Answered(_not_here(path))
        return encode({"version": listing.VERSION})

    def _meant(self, body: bytes, rights: Rights) -> ModelName:
        specs = visible(self._desk.catalogue, rights)
        return ModelName(meant(read(ModelWanted, body).called, specs))


def _not_here(path: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.NOT_FOUND,
        detail=f"{path} changes what Ollama keeps in its own store; there is none here.",
        remedy="Add the model to the catalogue: its configuration, or PUT /models/NAME.",
    )
