"""Whether a file is a whole model at all: asked before a resident is evicted for it."""

from pathlib import Path

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.reader import read_header


def damage(path: Path) -> str | None:
    """What keeps the file from being a whole model, in words; None if nothing does.

    Looks at the header only, which takes milliseconds however large the file is.
    """
    try:
        read_header(path).require_whole_file()
    except GgufError as error:
        words = str(error)
        return f"it {words.removeprefix(f'{path} ')}" if words.startswith(f"{path} ") else words
    return None
