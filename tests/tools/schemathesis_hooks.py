"""What schemathesis does beside its settings: it keeps the key by which it asks."""

import os
from typing import Any

import schemathesis

OWN_KEY = os.environ["SCHEMATHESIS_OWN_KEY"]  # noqa: TID251 - how the test tells this process
NOBODYS = "aaaaaaaa"


@schemathesis.hook
def before_call(_context: object, case: "schemathesis.Case[Any]", **_: object) -> None:
    """It finds its own among the keys that it lists: another one's is revoked in its place."""
    if (case.path_parameters or {}).get("key_id") == OWN_KEY:
        case.path_parameters["key_id"] = NOBODYS
