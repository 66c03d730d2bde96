"""What the documents ask, as a table: made of `rows.yaml`, with the tests where they really are."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from docs.schema_words import table

HERE = Path(__file__).resolve().parent
ROWS = HERE / "rows.yaml"
TESTS = HERE.parent / "tests"
ISSUE_WORDS = "Not yet: issue {}."

_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


class NoSuchTest(Exception):
    """A row names a test that is not there, or is there twice."""


def parts() -> Mapping[str, Callable[[], str]]:
    return {"what was asked": _rows}


def rows() -> Mapping[str, list[dict[str, Any]]]:
    """By document."""
    read: dict[str, list[dict[str, Any]]] = yaml.safe_load(ROWS.read_text())
    return read


def _rows() -> str:
    return "\n\n".join(
        f"## {document}\n\n"
        + table(("Asked", "How it is kept", "Held by"), (_row(row) for row in asked))
        for document, asked in rows().items()
    )


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    if "open" in row:
        return row["asked"], ISSUE_WORDS.format(row["open"]), ""
    if "refused" in row:
        return row["asked"], f"Not kept: {row['refused']}", ""
    return row["asked"], row["kept"], ", ".join(f"`{located(test)}`" for test in row["tests"])


def located(test: str) -> str:
    """Its file and name. Raise NoSuchTest."""
    places = _places().get(test, ())
    if len(places) != 1:
        raise NoSuchTest(f"{ROWS.name}: {test} is in {len(places)} files: {', '.join(places)}")
    return f"{places[0]}::{test}"


@cache
def _places() -> Mapping[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in _TEST.findall(path.read_text()):
            found[name].append(str(path.relative_to(HERE.parent)))
    return found
