"""What is asked of a model in Ollama's manner: loaded for it, asked as OpenAI has it, told back.

While a stream waits for its model it hears a line that says nothing, every few seconds: clients,
and what lies between, give up on an answer that does not begin.
"""

from collections.abc import AsyncIterator

from orchestrator.catalogue.facts import FactSheets
from orchestrator.desk.desk import Desk
from orchestrator.gateway.client_request import EVENT_STREAM, ClientRequest
from orchestrator.gateway.exchange import Beat, Broken, Exchanges, Passage, ServerAnswer
from orchestrator.gateway.ollama.pieces import AnswerBroken, piece_of, refusal_in
from orchestrator.gateway.ollama.questions import ModelQuestion, question_of
from orchestrator.gateway.ollama.requests import OllamaRequest
from orchestrator.gateway.ollama.server_events import END, EventReader, EventTooLarge
from orchestrator.gateway.ollama.speech import Dress, Speech, Times, ndjson, only_model
from orchestrator.gateway.ollama.translation import Translated
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, encode
from orchestrator.web.wire.instants import instant

ANSWER_BYTES_MAX = 64 << 20  # of one that comes whole: embeddings of thousands of texts


class Asking:
    def __init__(self, desk: Desk, exchanges: Exchanges, facts: FactSheets) -> None:
        self._desk = desk
        self._exchanges = exchanges
        self._facts = facts

    # --- chat and generate -----------------------------------------------------------------------

    async def speak(
        self, request: ClientRequest, wanted: OllamaRequest, translated: Translated, dress: Dress
    ) -> None:
        """Raise Answered, Denied or Broken."""
        question = await self.question(request, wanted, translated)
        beat = self._beat(request, question, dress) if wanted.streams else None
        if translated.path is None:
            await self._only_model(request, question, translated, dress, beat)
            return
        asked, run = question.asked, request.run
        async with await self._exchanges.ask(asked, question.body, run, beat) as answer:
            self.keep(answer.passage, question)
            try:
                if answer.status != 200:
                    await self.refuse(request, await self.read(request, answer), answer)
                elif wanted.streams:
                    await self._stream(request, question, answer, Speech(dress))
                else:
                    await self._whole(request, question, answer, Speech(dress))
            except AnswerBroken as error:
                raise Answered(failed(str(error))) from error

    def _beat(self, request: ClientRequest, question: ModelQuestion, dress: Dress) -> Beat:
        async def say(_: str) -> None:
            nothing = {**dress.line(self._now()), "done": False}
            await request.lines(ndjson(nothing), question.headers)

        return Beat(self._desk.config.gateway.heartbeat_s, say)

    async def _stream(
        self, request: ClientRequest, question: ModelQuestion, answer: ServerAnswer, speech: Speech
    ) -> None:
        headers = [*question.headers, *request.told(answer.passage)]
        async for event in self._events(request, answer):
            for line in speech.hear(piece_of(event), self._now()):
                await request.lines(ndjson(line), headers)
        if not speech.ended:
            raise Broken("its stream ended without a reason")
        last = speech.last(self.times(request), self._now())
        await request.lines(b"", headers)
        await request.last_line(b"".join(map(ndjson, last)), speech.usage)

    async def _whole(
        self, request: ClientRequest, question: ModelQuestion, answer: ServerAnswer, speech: Speech
    ) -> None:
        async for event in self._events(request, answer):
            speech.keep(piece_of(event))
        headers = [*question.headers, *request.told(answer.passage)]
        said = speech.whole(self.times(request), self._now())
        await request.tell(encode(said), headers, usage=speech.usage)

    async def _events(self, request: ClientRequest, answer: ServerAnswer) -> AsyncIterator[bytes]:
        """Of a stream its events; a body that is none is the only one."""
        if not _is_stream(answer):
            yield await self.read(request, answer)
            return
        reader = EventReader()
        try:
            async for chunk in answer.chunks():
                self._desk.activity.first_byte(request.run)
                for event in reader.feed(chunk):
                    if event != END:
                        yield event
        except EventTooLarge as error:
            raise AnswerBroken(f"The model's server sent {error}.") from error
        for event in reader.close():
            if event != END:
                yield event

    # --- the model itself ------------------------------------------------------------------------

    async def _only_model(
        self,
        request: ClientRequest,
        question: ModelQuestion,
        translated: Translated,
        dress: Dress,
        beat: Beat | None,
    ) -> None:
        if translated.lets_go:
            self._let_go(question)
        else:
            await self.load(request, question, beat)
        reason = "unload" if translated.lets_go else "load"
        said = only_model(dress, reason, self._now())
        if request.begun:
            await request.last_line(ndjson(said))
        else:
            await request.tell(encode(said), question.headers)

    async def load(
        self, request: ClientRequest, question: ModelQuestion, beat: Beat | None = None
    ) -> None:
        async with self._exchanges.passage(question.asked, request.run, beat) as passage:
            self.keep(passage, question)

    def _let_go(self, question: ModelQuestion) -> None:
        """It leaves within a second if it is idle, else as soon as it is; one that is pinned stays.

        Ollama does not wait for it either.
        """
        spec = self._exchanges.candidates(question.asked)[0]
        self._desk.stays(spec.name, 0.0, question.asked.rights)

    # --- what they have in common ----------------------------------------------------------------

    async def question(
        self, request: ClientRequest, wanted: OllamaRequest, translated: Translated
    ) -> ModelQuestion:
        """Raise Answered or Denied, before anything is loaded for it."""
        return await question_of(
            request,
            wanted,
            translated,
            desk=self._desk,
            exchanges=self._exchanges,
            facts=self._facts,
        )

    def keep(self, passage: Passage, question: ModelQuestion) -> None:
        """As long as the client wants it to stay."""
        if question.kept_s is not None:
            self._desk.stays(passage.model, question.kept_s, question.asked.rights)

    async def read(self, request: ClientRequest, answer: ServerAnswer) -> bytes:
        """Raise AnswerBroken if it is more than an answer can be."""
        pieces, size = [], 0
        async for chunk in answer.chunks():
            self._desk.activity.first_byte(request.run)
            pieces.append(chunk)
            size += len(chunk)
            request.holds(len(chunk))
            if size > ANSWER_BYTES_MAX:
                raise AnswerBroken(f"The model's server sent more than {ANSWER_BYTES_MAX} bytes.")
        body = b"".join(pieces)
        request.decodes(body)
        return body

    async def refuse(self, request: ClientRequest, said: bytes, answer: ServerAnswer) -> None:
        """The server's own refusal, in Ollama's form and with the server's status."""
        error = {"error": refusal_in(said, answer.status)}
        if request.begun:
            await request.last_line(ndjson(error))
        else:
            await request.tell(encode(error), request.told(answer.passage), status=answer.status)

    def times(self, request: ClientRequest) -> Times:
        run, now_s = request.run, self._desk.clock()
        ready_s = run.began_s if run.granted_s is None else run.granted_s
        return Times(
            asked_s=run.began_s,
            ready_s=ready_s,
            first_s=now_s if run.first_byte_s is None else run.first_byte_s,
            ended_s=now_s,
        )

    def _now(self) -> str:
        return instant(self._desk.clock())


def _is_stream(answer: ServerAnswer) -> bool:
    return any(
        name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in answer.headers
    )


def failed(detail: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.SERVER_FAILED,
        detail=detail,
        remedy="GET /models/NAME/logs has its server's last words.",
    )
