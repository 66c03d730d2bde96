"""What lies in the file of keys."""

from contextlib import closing
from pathlib import Path

from orchestrator.access.keys.store import KeyFile
from orchestrator.access.keys.table import KeyTable


def read_once(state_dir: Path) -> KeyTable:
    """Raise KeysUnreadable."""
    with closing(KeyFile.at(state_dir)) as file:
        return file.read()
