import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.errors import Unreachable
from orchestrator.ports import Use
from tests.unit.engines.launched import free_port, with_http

SLOTS = json.dumps([{"id": 0, "is_processing": True}, {"id": 1, "is_processing": False}])
METRICS = """\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 120
llamacpp:prompt_tokens_cached_total 30
llamacpp:tokens_predicted_total 1.5e+02
llamacpp:requests_processing 2
"""
HANGS = None


@contextmanager
def serving(answers: dict[str, tuple[int, str] | None]) -> Iterator[Endpoint]:
    """A server with fixed answers; where there is HANGS, it takes the question and says nothing."""
    ended = threading.Event()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path, (501, "{}"))
            if answer is HANGS:
                ended.wait(30)
                return
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{server.server_port}")
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def impatient(http) -> LlamaTalker:
    return LlamaTalker(http, readiness_s_max=0.3, use_s_max=0.3)


def readiness(answers):
    said = []

    async def scene(http):
        with serving(answers) as endpoint:
            said.append(await impatient(http).readiness(endpoint))

    with_http(scene)
    return said[0]


def use(answers) -> Use:
    said = []

    async def scene(http):
        with serving(answers) as endpoint:
            said.append(await impatient(http).use(endpoint))

    with_http(scene)
    return said[0]


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ((200, '{"status": "ok"}'), ReadyState.READY, ""),
        ((503, '{"error": {"message": "Loading model"}}'), ReadyState.STARTING, "Loading model"),
        ((502, "<html>"), ReadyState.STARTING, "502"),
        ((503, '{"error": "busy"}'), ReadyState.STARTING, "503"),
        ((404, "{}"), ReadyState.BROKEN, "not a llama.cpp server"),
        (HANGS, ReadyState.STARTING, "no answer yet"),
    ],
)
def test_readiness_is_what_health_says(answer, state, words):
    said = readiness({"/health": answer})
    assert said.state is state
    assert words in said.detail


@pytest.mark.parametrize(
    ("answer", "slots"),
    [
        ((200, '[{"n_ctx": 1024}, {"n_ctx": 1024}]'), (1024, 1024)),
        ((200, '[{"id": 0}]'), ()),
        ((501, '{"error": "this server does not tell"}'), ()),
        ((200, "<html>"), ()),
        (HANGS, ()),
    ],
)
def test_ready_server_tells_how_it_divides_its_context(answer, slots):
    said = readiness({"/health": (200, "{}"), "/slots": answer})
    assert (said.state, said.slots) == (ReadyState.READY, slots)


def test_nobody_listening_yet_is_starting_for_readiness_and_unreachable_for_use():
    async def scene(http):
        nobody = Endpoint(f"http://127.0.0.1:{free_port()}")
        assert (await LlamaTalker(http).readiness(nobody)).state is ReadyState.STARTING
        with pytest.raises(Unreachable):
            await LlamaTalker(http).use(nobody)

    with_http(scene)


def test_use_is_read_from_the_counters_with_one_question():
    assert use({"/slots": HANGS, "/metrics": (200, METRICS)}) == Use(2, 300.0)


def test_what_a_server_does_not_tell_is_unknown():
    assert use({}) == Use(None, None)
    assert use({"/slots": (200, SLOTS)}) == Use(1, None)
    assert use({"/slots": (200, "<html>"), "/metrics": (200, "hello")}) == Use(None, None)
    assert use({"/slots": (200, '{"a": 1}')}) == Use(None, None)


@pytest.mark.parametrize("said", ["1e400", "-1", "1-2", "1e300", "NaN", "..", "9" * 40])
def test_numbers_that_no_server_can_mean_are_not_told(said):
    lines = f"llamacpp:requests_processing {said}\nllamacpp:prompt_tokens_total {said}\n"
    assert use({"/metrics": (200, lines), "/slots": (200, "[]")}) == Use(0, None)


def test_a_server_too_busy_to_tell_is_in_use():
    assert use({"/health": (200, "{}"), "/metrics": HANGS}) == Use(1, None)


def test_a_server_that_answers_nothing_is_unreachable():
    with pytest.raises(Unreachable):
        use({"/health": HANGS, "/metrics": HANGS})
