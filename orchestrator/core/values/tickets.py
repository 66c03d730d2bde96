"""A caller that waits, by its number, and how its unload ended."""

from enum import StrEnum
from typing import NewType

Ticket = NewType("Ticket", int)  # from arrival to grant, denial or withdrawal


class UnloadStatus(StrEnum):
    UNLOADED = "unloaded"
    NOT_LOADED = "not_loaded"
    RELEASED = "released"  # the owner's lease ended; others still hold the model
