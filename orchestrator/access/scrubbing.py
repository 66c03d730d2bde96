"""Secrets out of texts that are kept or shown: keys of ours, tokens of hubs, of headers.

It knows them by their form. A secret without a form is kept out by not writing texts of callers.
Where things lie on this machine is no secret, but no business of a key's that is not an admin's.
"""

import logging
import re

_FORMS = (
    (re.compile(r"\b(vo_[A-Za-z0-9]{8}_)[A-Za-z0-9_-]{16,}"), r"\1…"),  # the id is public
    (re.compile(r"\b(hf_)[A-Za-z0-9]{16,}"), r"\1…"),
    (re.compile(r"\b(sk-|ghp_|github_pat_)[A-Za-z0-9_-]{16,}"), r"\1…"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20)[A-Za-z0-9._~+/=-]{8,}"), r"\1 …"),
)


# What stands behind a method is a path of the API, and what stands in an address no folder.
_FOLDERS = re.compile(
    r"(\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) /\S*|\w+://\S*)"
    r"|(?<![\w.:/~}-])(?:/[^\s/:;,'\"()<>|]+)+/(?=[^\s/:;,'\"()<>|])"
)


def without_folders(text: str) -> str:
    """Of every absolute path its last name alone."""
    return _FOLDERS.sub(lambda found: found[1] or "", text)


def scrubbed(text: str) -> str:
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


class Scrubbing(logging.Filter):
    """On a handler: what is logged carries no secret, whoever says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        record.msg, record.args = scrubbed(said), None
        return True
