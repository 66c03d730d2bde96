"""/api/embed and /api/embeddings. Texts that are too long are cut, unless they must not be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.gateway.asked import Headers
from orchestrator.gateway.client_request import ClientRequest
from orchestrator.gateway.exchange import Exchanges, ServerAnswer
from orchestrator.gateway.ollama.asking import Asking, failed
from orchestrator.gateway.ollama.pieces import AnswerBroken, answer_object
from orchestrator.gateway.ollama.questions import ModelQuestion
from orchestrator.gateway.ollama.requests import OllamaRequest, VectorsWanted, VectorWanted
from orchestrator.gateway.ollama.translation import Translated, of_vector, of_vectors
from orchestrator.gateway.ollama.vectors import embeddings, shortened, vectors_of
from orchestrator.gateway.paths import Call, Protocol, Task
from orchestrator.records import Usage
from orchestrator.web.wire.error_answers import Answered, encode

TOKENIZE = "/tokenize"
MARKERS = 2  # that a server puts round a text: where it begins and where it ends
TOO_LONG = frozenset({400, 413, 500})  # what servers have said of a text that is


@dataclass(frozen=True, slots=True)
class Embedded:
    vectors: list[list[float]]
    tokens: int
    headers: Headers


class Embedding:
    def __init__(self, asking: Asking, exchanges: Exchanges) -> None:
        self._asking = asking
        self._exchanges = exchanges

    async def vectors(self, request: ClientRequest, wanted: VectorsWanted) -> None:
        """Raise Answered, Denied or Broken."""
        cuts = wanted.truncate is not False
        done = await self._embedded(request, wanted, of_vectors(wanted), cuts=cuts)
        if done is not None:
            short = [shortened(vector, wanted.dimensions) for vector in done.vectors]
            times = self._asking.times(request)
            said = embeddings(wanted.called, short, done.tokens, times)
            await request.tell(encode(said), done.headers, usage=Usage(tokens_in=done.tokens))

    async def vector(self, request: ClientRequest, wanted: VectorWanted) -> None:
        """Raise Answered, Denied or Broken."""
        done = await self._embedded(request, wanted, of_vector(wanted), cuts=True)
        if done is not None:
            said = {"embedding": done.vectors[0] if done.vectors else []}
            await request.tell(encode(said), done.headers, usage=Usage(tokens_in=done.tokens))

    async def _embedded(
        self, request: ClientRequest, wanted: OllamaRequest, translated: Translated, *, cuts: bool
    ) -> Embedded | None:
        """None: the server refused it, and that was said."""
        asking, question = self._asking, await self._asking.question(request, wanted, translated)
        if translated.path is None:
            await asking.load(request, question)
            return Embedded([], 0, question.headers)
        texts: Sequence[str] = translated.body["input"]
        try:
            async with await self._exchanges.ask(
                question.asked, question.body, request.run
            ) as answer:
                asking.keep(answer.passage, question)
                if answer.status not in TOO_LONG or not cuts:
                    return await self._understood(request, question, answer, len(texts))
                why = await asking.read(request, answer)
                model = answer.passage.model
            shorter = await self._cut(request, question, texts, model)
            if shorter is None:
                await asking.refuse(request, why, answer)
                return None
            async with await self._exchanges.ask(question.asked, shorter, request.run) as answer:
                return await self._understood(request, question, answer, len(texts))
        except AnswerBroken as error:
            raise Answered(failed(str(error))) from error

    async def _understood(
        self, request: ClientRequest, question: ModelQuestion, answer: ServerAnswer, count: int
    ) -> Embedded | None:
        body = await self._asking.read(request, answer)
        if answer.status != 200:
            await self._asking.refuse(request, body, answer)
            return None
        vectors, tokens = vectors_of(body, count)
        return Embedded(vectors, tokens, [*question.headers, *request.told(answer.passage)])

    async def _cut(
        self, request: ClientRequest, question: ModelQuestion, texts: Sequence[str], model: str
    ) -> bytes | None:
        """The same question with what fits of each text. None: none of them is too long."""
        spec = self._exchanges.candidates(question.asked)[0]
        if not spec.settings_ours:
            return None
        serving = spec.serving  # a text has to go through in one batch
        most = min(serving.context_size, serving.effective_batches[1]) - MARKERS
        inputs = [await self._tokens(request, question, text) for text in texts]
        if all(len(tokens) <= most for tokens in inputs) or not all(inputs):
            return None
        return encode({"model": model, "input": [tokens[:most] for tokens in inputs]})

    async def _tokens(
        self, request: ClientRequest, question: ModelQuestion, text: str
    ) -> list[int]:
        """By the model's own server; none where it does not say."""
        asked = replace(question.asked, call=Call(Task.TOKENS, Protocol.OLLAMA), target=TOKENIZE)
        body = encode({"content": text, "add_special": False})
        async with await self._exchanges.ask(asked, body, request.run) as answer:
            read = await self._asking.read(request, answer)
            tokens = answer_object(read).get("tokens") if answer.status == 200 else None
        listed = tokens if isinstance(tokens, list) else []
        return [token for token in listed if isinstance(token, int)]
