"""Keys for tests."""

from typing import Any

from orchestrator.access.keys.record import ApiKey, KeyScope

NOW_S = 1_700_000_000.0


def key(*scopes: KeyScope, **more: Any) -> ApiKey:
    given = {"id": "abcd1234", "digest": "00", "name": "ci", "created_s": NOW_S, **more}
    return ApiKey(scopes=scopes or (KeyScope.READ,), **given)
