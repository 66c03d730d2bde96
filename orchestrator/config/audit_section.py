"""The section `audit`: the log of who did what."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.config.scalars import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Who did what, in lines that show when one of them was changed."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool | None = None
    """Keep audit.jsonl in state_dir; null: as SECURITY_AUDIT_ENABLED of the environment says, else
    true."""
    file_mb: Annotated[int, Field(ge=1, le=1024)] = 10
    """How large one file grows before the next is begun."""
    files: Annotated[int, Field(ge=2, le=1000)] = 10
    """How many are kept, the one that is written included."""
