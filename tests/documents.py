"""The documents for users, read as text: their links, headings, and the commands they show.

A command stands in a fence of `sh`, a program in one of `python`; both are executed
(tests/scenarios/test_documents.py). A comment that no reader sees may stand before a fence:

    <!-- exit code: 1 -->             it ends with that
    <!-- starts: trial.yaml -->       it starts a daemon, with that file of the same document
    <!-- run by: tests/…::test_x -->  another test executes it, because it needs more than a daemon
    <!-- not run: reason -->          nobody does; the reason is one of NOT_RUN
    <!-- for example -->              before a fence of output: what it shows differs each time

A fence of `json` or `text` right after it shows what it prints.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "workflows" / "README.md"]

BLOCK = re.compile(
    r"(?:^<!-- (?P<word>[a-z ]+?)(?:: (?P<argument>.+?))? -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fence with what was said before it."""

    page: Path
    line: int
    language: str
    text: str
    word: str = ""  # of the comment
    argument: str = ""
    title: str = ""  # the name of the file it is
    follows: bool = False  # nothing but white space between it and the fence before

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    end = -1
    for match in BLOCK.finditer(text):
        between = text[end : match.start()] if end >= 0 else "x"
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start("language")) + 1,
                language=match["language"],
                text=match["text"],
                word=match["word"] or "",
                argument=match["argument"] or "",
                title=match["title"] or "",
                follows=not between.strip(),
            )
        )
        end = match.end()
    return found


def prose(text: str) -> str:
    """Without fences: what is in them is no heading and no link."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    return [found[2] for found in HEADING.finditer(prose(page.read_text()))]


def anchor(heading: str) -> str:
    """As GitHub and the site make it."""
    text = heading.replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def links(page: Path) -> Iterator[str]:
    for found in LINK.finditer(prose(page.read_text())):
        yield found[1]
