"""Talks to a llama-server that its owner runs, which is asked to unload where it can.

Only one in router mode can give a model's memory back; a plain one holds it until its owner
stops it, and then it stays charged.
"""

from http import HTTPStatus

from orchestrator.core.values.residents import Endpoint
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.http import NoAnswer
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.errors import CannotAsk, Unreachable

UNLOAD = "/models/unload"  # llama.cpp's router


class LlamaRouterTalker(LlamaTalker):
    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Raise Unreachable if it does not give the memory back: it stays charged then."""
        try:
            answer = await self._http.post(endpoint, UNLOAD, {"model": spec.name}, self._use_s_max)
        except (NoAnswer, CannotAsk):
            said = "does not answer"
        else:
            if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                return
            said = f"answers {answer.status}"
        raise Unreachable(
            f"{endpoint.url} was asked to unload {spec.name} and {said}; "
            "a server that is not in router mode has to be stopped by its owner."
        )
