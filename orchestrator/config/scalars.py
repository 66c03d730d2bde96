"""What single keys may hold, and their limits."""

from typing import Annotated

from pydantic import ConfigDict, Field

MB_MAX = 1 << 30  # a pebibyte: more is a slip of the unit
SECONDS_MAX = 366 * 86400.0
CONTEXT_SIZE_MAX = 1 << 24  # sixteen times the longest context of any model today
PRIORITY_MAX = 1_000_000
TEXT_CHARS_MAX = 4096  # Linux allows no longer path

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

# No control characters: they break logs, argument lists and terminals.
Text = Annotated[
    str, Field(min_length=1, max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Url = Annotated[
    str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^https?://[A-Za-z0-9\[][^\s\\@#?]*$")
]
UrlPath = Annotated[str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^/[^\s\\@#]*$")]
Mb = Annotated[int, Field(ge=0, le=MB_MAX)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]
PositiveSeconds = Annotated[float, Field(gt=0, le=SECONDS_MAX)]
Port = Annotated[int, Field(ge=0, le=65535)]
