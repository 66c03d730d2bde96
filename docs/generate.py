"""Writes the generated parts of the references from the code: `make references`.

A page says where a part stands, between two comments that no reader sees:

    <!-- generated: config server (make references) -->
    <!-- end of generated -->

What stands between them is made here; everything else on the page is written by hand. Sentences
that the code has no place for (what a field of an answer means) are in `sentences.yaml`: a field
without a sentence and a sentence without a field are errors.
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# Their path is above.
from docs import parts_api, parts_cli, parts_config, parts_errors, parts_faults, parts_rows  # noqa: E402  # noqa: E402
from orchestrator.gateway.edge.configuration import for_compose  # noqa: E402

PART = re.compile(
    r"(?P<open><!-- generated: (?P<name>[^()]+?) \(make references\) -->\n)"
    r".*?(?P<close><!-- end of generated -->)",
    re.DOTALL,
)


class NoSuchPart(Exception):
    """A page asks for a part that nobody makes, or a part is on no page."""


@cache
def parts() -> Mapping[str, Callable[[], str]]:
    """What can be generated, by the name that pages call it."""
    return {
        **parts_config.parts(),
        **parts_api.parts(),
        **parts_cli.parts(),
        **parts_errors.parts(),
        **parts_faults.parts(),
        **parts_rows.parts(),
    }


def filled(text: str) -> str:
    """The page with its generated parts as the code has them now. Raise NoSuchPart."""

    def made(found: re.Match[str]) -> str:
        make = parts().get(found["name"])
        if make is None:
            known = ", ".join(sorted(parts()))
            raise NoSuchPart(f"there is no part called {found['name']}; there are {known}")
        return f"{found['open']}\n{make().strip()}\n\n{found['close']}"

    return PART.sub(made, text)


def pages() -> list[Path]:
    return sorted(HERE.rglob("*.md"))


def unused(texts: Mapping[Path, str]) -> set[str]:
    """Parts that stand on no page."""
    used = {found["name"] for text in texts.values() for found in PART.finditer(text)}
    return set(parts()) - used


def beside_nginx() -> Mapping[Path, str]:
    """What the nginx of the compose stack knows of the gateway."""
    return {HERE.parent / "nginx" / name: text for name, text in for_compose().items()}


def main() -> int:
    texts = {path: path.read_text() for path in pages()}
    if missing := unused(texts):
        raise NoSuchPart(f"on no page: {', '.join(sorted(missing))}")
    made = {path: filled(text) for path, text in texts.items()}
    for path, new in {**made, **beside_nginx()}.items():
        if not path.exists() or path.read_text() != new:
            path.write_text(new)
            sys.stdout.write(f"written: {path.relative_to(HERE.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
