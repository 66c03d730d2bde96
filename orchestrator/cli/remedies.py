"""Remedies of the API in the words of the terminal. Pure."""

import re
from collections.abc import Callable

Words = str | Callable[[re.Match[str]], str]

# What the daemon's sentences name, and what does the same here. What is longer comes first.
_WORDS: tuple[tuple[str, Words], ...] = (
    (r"POST /models/load \{\"model\": \"([^\"]+)\"\}", r"`orchestrator load \1`"),
    (r"GET /models/([^/\s]+)/logs", r"`orchestrator logs \1`"),
    (
        r"send the model anew \(PUT /models/([^/\s)]+)\)",
        r"add it anew (`orchestrator add FILE --as \1`)",
    ),
    (r"DELETE /models/([^/\s)]+)", r"`orchestrator remove \1`"),
    (r"PUT /models/([^/\s)]+)", r"`orchestrator add FILE --as \1`"),
    (r"POST /models/unload", "`orchestrator stop NAME`"),
    (r"POST /models/load", "`orchestrator load NAME`"),
    (r"POST /models/plan", "`orchestrator plan NAME`"),
    (r"POST /admin/reload", "`orchestrator reload`"),
    (r"GET /models/status", "`orchestrator status`"),
    (r"GET (?:/v1)?/models(?![/\w])", "`orchestrator list`"),
    (r"GET /api/tags", "`orchestrator list`"),
    (r"GET /api/ps", "`orchestrator ps`"),
    (r"GET /health/ready", "`orchestrator doctor`"),
    (r"GET /requests", "`orchestrator requests`"),
    (r"GET /events", "`orchestrator events`"),
    (r"GET /devices", "`orchestrator status`"),
)
_PATTERNS = tuple((re.compile(pattern), words) for pattern, words in _WORDS)


def in_terminal(text: str) -> str:
    """The sentence, naming words that can be typed here instead of requests."""
    for pattern, words in _PATTERNS:
        text = pattern.sub(words, text)
    return text
