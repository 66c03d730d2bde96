"""A ticket numbers one caller's wish, from arrival to grant, denial or withdrawal."""

from typing import NewType

Ticket = NewType("Ticket", int)
