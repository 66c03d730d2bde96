"""The section `edge`: nginx in front of the daemon."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.config.scalars import STRICT, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """nginx in front of the daemon, as `orchestrator edge` runs it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    host: Text = "127.0.0.1"
    """The address to listen on. Beyond this machine only with keys: `orchestrator keys create`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Processes of nginx; null: one for each core, four at most."""
    dir: Text | None = None
    """Its configuration, sockets and figures; null: the folder `edge` of state_dir."""
