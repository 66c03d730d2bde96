"""The reference of refusals and failures, from the tables that decide what they mean."""

from collections.abc import Callable, Mapping

from docs.parts_api import fields_of
from docs.schema_words import code, table
from docs.sentences import sentence
from orchestrator.core.values.failures import (
    BLAMELESS,
    BREAKER_FAILURES,
    HOPELESS,
    FailureReason,
    ShortOf,
)
from orchestrator.web.wire.error_answers import MEANINGS

AGAIN = (429, 503)  # answers that say when to ask again


def parts() -> Mapping[str, Callable[[], str]]:
    return {
        "errors body": lambda: fields_of("ErrorBody", "api.md"),
        "errors codes": _codes,
        "errors causes": _causes,
        "errors short of": _short_of,
    }


def _codes() -> str:
    rows = (
        (
            f"[`{name}`](#{name})",
            str(meaning.status),
            meaning.title,
            "`Retry-After`" if meaning.status in AGAIN else "",
        )
        for name, meaning in sorted(MEANINGS.items(), key=lambda each: (each[1].status, each[0]))
    )
    return table(("Code", "Status", "Title", "Says when to ask again"), rows)


def _causes() -> str:
    rows = ((f"[`{each}`](#cause-{each})", _breaker(each)) for each in FailureReason)
    return table(("Cause", "What it does to the model's breaker"), rows)


def _breaker(reason: FailureReason) -> str:
    if reason in HOPELESS:
        return "opens it at once: a second try cannot help"
    if reason in BLAMELESS:
        return "nothing: it is not the model's fault"
    return f"opens it after {BREAKER_FAILURES} failures in a row"


def _short_of() -> str:
    return table(
        ("`short_of`", "There was no memory for"),
        ((code(each), sentence("short_of", str(each))) for each in ShortOf),
    )
