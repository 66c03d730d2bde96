"""A conversation in the terminal, with a server that answers what it is told."""

import io
import json

import pytest

from orchestrator.cli import chatting
from orchestrator.cli.chatting import Chat
from orchestrator.cli.client import RefusedByDaemon, Remote
from orchestrator.cli.main import main
from orchestrator.web.wire import examples
from tests.stand_in import stand_in

CHAT = "POST /v1/chat/completions"


@pytest.fixture
def daemon(monkeypatch):
    with stand_in() as remembered:
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        remembered.answers["POST /models/load"] = examples.LOADED
        yield remembered


def stream(*deltas):
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    lines = [": a comment", *(f"data: {json.dumps(each)}" for each in events), "data: [DONE]", ""]
    return "\n\n".join(lines).encode()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def typed(monkeypatch, *lines):
    """Somebody at a terminal who types this, and then Ctrl-D."""
    monkeypatch.setattr("sys.stdin", Terminal())
    left = iter(lines)

    def answer(prompt):
        line = next(left, None)
        if line is None:
            raise EOFError
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", answer)


def test_a_question_behind_the_name_is_answered_once(daemon, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal())
    daemon.answers[CHAT] = stream({"role": "assistant"}, {"content": "Par"}, {"content": "is."})
    assert main(["run", "a", "Capital", "of", "France?"]) == 0
    assert capsys.readouterr().out == "Paris.\n"
    [body] = daemon.bodies("/v1/chat/completions")
    assert (body["model"], body["stream"]) == ("a", True)
    assert body["messages"] == [{"role": "user", "content": "Capital of France?"}]


def test_what_is_piped_in_is_asked(daemon, capsys, monkeypatch):
    daemon.answers[CHAT] = stream({"content": "ok"})
    monkeypatch.setattr("sys.stdin", io.StringIO("a text\n"))
    assert main(["run", "a", "Shorten:"]) == 0
    [body] = daemon.bodies("/v1/chat/completions")
    assert body["messages"][0]["content"] == "Shorten:\n\na text"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["run", "a"]) == 1
    assert "nothing to ask" in capsys.readouterr().err


def test_a_conversation_remembers_until_it_is_told_to_forget(daemon, capsys, monkeypatch):
    daemon.answers[CHAT] = stream({"content": "yes"})
    typed(monkeypatch, "one", "", "/help", "two", "/clear", KeyboardInterrupt(), "three")
    assert main(["run", "a"]) == 0
    asked = [[m["content"] for m in b["messages"]] for b in daemon.bodies("/v1/chat/completions")]
    assert asked == [["one"], ["one", "yes", "two"], ["three"]]
    typed(monkeypatch, "/bye", "never")
    assert main(["run", "a"]) == 0


def test_an_answer_that_fails_is_said_and_not_remembered(daemon, capsys, monkeypatch):
    refused = (507, {"detail": "It does not fit.", "remedy": "GET /models lists others."})
    broken = b'data: {"error": {"message": "its server ended"}}\n\n'
    daemon.answers[CHAT] = [refused, broken, stream({"content": "yes"})]
    typed(monkeypatch, "one", "two", "three")
    assert main(["run", "a"]) == 0
    said = capsys.readouterr().err
    assert "It does not fit.\n`orchestrator list` lists others." in said
    assert "its server ended" in said
    assert daemon.bodies("/v1/chat/completions")[2]["messages"] == [
        {"role": "user", "content": "three"}
    ]


def test_thoughts_are_shown_in_a_terminal_and_nowhere_else(daemon, capsys):
    thinking = stream({"reasoning_content": "Hm"}, {"reasoning_content": "m."}, {"content": "Yes."})
    daemon.answers[CHAT] = thinking
    Chat(Remote(daemon.url), "a", Terminal()).ask("?")
    assert capsys.readouterr().out == "(Hmm.)\n\nYes.\n"
    Chat(Remote(daemon.url), "a", io.StringIO()).ask("?")
    assert capsys.readouterr().out == "Yes.\n"


@pytest.mark.parametrize(
    "event", [{}, {"choices": []}, {"choices": [1]}, {"choices": [{"delta": 1}]}]
)
def test_an_event_without_text_is_passed_over(event):
    assert chatting._delta(event) == {}


def test_what_moves_a_cursor_does_not(daemon, capsys):
    daemon.answers[CHAT] = stream({"content": "a\x1b[2J\nb"})
    Chat(Remote(daemon.url), "a").ask("?")
    assert capsys.readouterr().out == "a�[2J\nb\n"


def test_an_error_in_a_stream_has_its_sentence(daemon):
    daemon.answers[CHAT] = b'data: {"error": "gone"}\n\n'
    with pytest.raises(RefusedByDaemon, match="gone"):
        Chat(Remote(daemon.url), "a").ask("?")
