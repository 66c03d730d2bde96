"""Sentences of the daemon in the words of the terminal."""

import re
from pathlib import Path

import pytest

from orchestrator.cli.remedies import in_terminal

PACKAGE = Path(__file__).parents[3] / "orchestrator"
# Requests that have no word: what is sent by programs, or is a page.
WITHOUT_A_WORD = ("GET /docs", "PUT /devices/", "GET /auth/whoami")
NAMED = re.compile(r"(?:GET|POST|PUT|DELETE) /(?:v1/|api/)?[a-z]+[^\s`\"')]*")


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("GET /models lists what there is.", "`orchestrator list` lists what there is."),
        ("Unload it first (POST /models/unload).", "Unload it first (`orchestrator stop NAME`)."),
        ("Look at its log (GET /models/a/logs).", "Look at its log (`orchestrator logs a`)."),
        ('POST /models/load {"model": "a"}, and ask.', "`orchestrator load a`, and ask."),
        ("or take it out (DELETE /models/a).", "or take it out (`orchestrator remove a`)."),
        ("poll GET /models/status, which", "poll `orchestrator status`, which"),
        (
            "Take it out and reload (POST /admin/reload).",
            "Take it out and reload (`orchestrator reload`).",
        ),
        ("Choose a smaller one.", "Choose a smaller one."),
    ],
)
def test_a_request_becomes_what_can_be_typed(said, typed):
    assert in_terminal(said) == typed


def test_every_request_that_a_remedy_names_has_a_word():
    for folder in ("catalogue", "conductor", "config", "core", "desk", "devices", "gateway"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for line in path.read_text().splitlines():
                for request in NAMED.findall(line) if "remedy" in line or '"' in line else ():
                    if not request.startswith(WITHOUT_A_WORD):
                        assert "orchestrator " in in_terminal(request), f"{path}: {request}"
