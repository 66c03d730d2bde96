"""The page: what was measured, as Markdown for people and as JSON for programs.

python bench/gpu/page.py        the page of a card that was never seen, for the repository
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from figures import Figure, Figures, Outcome

UNSEEN = (
    "**No card has been seen yet**: nothing here was measured on a GPU. "
    "`bench/gpu/run` does that in four minutes; see [README.md](README.md)."
)
REHEARSED = (
    "**No card has been seen yet**: these figures are of a rehearsal, with a stand-in for the "
    "driver and a server that computes on the processor. They say nothing about a GPU."
)


def render(figures: Sequence[Figure], outcomes: Sequence[Outcome], *, rehearsed: bool) -> str:
    return "\n".join(_lines(figures, outcomes, rehearsed=rehearsed)) + "\n"


def _lines(
    figures: Sequence[Figure], outcomes: Sequence[Outcome], *, rehearsed: bool
) -> Iterator[str]:
    names = {figure.name: figure.value for figure in figures if figure.step == "machine"}
    if not figures:
        yield UNSEEN
    elif rehearsed:
        yield REHEARSED
    else:
        yield f"Measured on one {names.get('name')} with driver {names.get('driver')}."
    yield from ("", "# What was measured on a card")
    if not outcomes:
        yield from ("", "Nothing yet.")
    for outcome in outcomes:
        yield from ("", f"## {outcome.step.replace('_', ' ')}", "")
        yield f"{outcome.problem or 'Ran to its end'} ({outcome.seconds:.1f} s)."
        mine = [figure for figure in figures if figure.step == outcome.step]
        if mine:
            yield from ("", "| what | value |", "|---|---|")
        for figure in mine:
            yield f"| {_cell(figure.name)} | {_cell(f'{_shown(figure.value)} {figure.unit}')} |"


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("\n", " ")


def write(figures: Figures, directory: Path) -> None:
    """Both of them, whole or not at all."""
    measured, outcomes = figures.read()
    said = {
        "rehearsed": figures.rehearsed,
        "figures": [asdict(figure) for figure in measured],
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    _replace(directory / "page.json", json.dumps(said, indent=1) + "\n")
    _replace(directory / "page.md", from_json(directory / "page.json"))


def from_json(path: Path) -> str:
    said = json.loads(path.read_text())
    return render(
        [Figure(**figure) for figure in said["figures"]],
        [Outcome(**outcome) for outcome in said["outcomes"]],
        rehearsed=said["rehearsed"],
    )


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    here = Path(__file__).parent
    text = from_json(here / "page.json")
    if sys.argv[1:] == ["--check"]:
        sys.exit(text != (here / "page.md").read_text())
    _replace(here / "page.md", text)
