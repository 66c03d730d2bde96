"""Whether a request names a picture, sound or video by an address, which its server would fetch.

llama-server asks wherever the address leads, redirects too, from the machine that it runs on: a
caller of a model would reach what it cannot reach itself.
"""

from collections.abc import Iterator, Mapping

from pydantic_core import from_json

from orchestrator.core.values.specs import ModelSpec
from orchestrator.gateway.members import NotAnObject, check_parts
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode

SCHEME = "http"  # how an address begins that is fetched
# Parts of a message that hold one, in the manner of OpenAI's two APIs and of Anthropic's.
KINDS = frozenset({"image_url", "input_image", "image", "input_audio", "input_video", "video_url"})
HELD_IN = ("url", "data")
_SIGNS = (SCHEME.encode(), b"\\u00")  # without one of them there is none
_BEFORE = b" \t\r\n\xef\xbb\xbf"


def fetches(spec: ModelSpec) -> bool:
    """Whether its server is one of ours that takes pictures."""
    sees = spec.mmproj is not None or spec.hub is not None
    return spec.settings_ours and spec.file is not None and sees


def objection(spec: ModelSpec) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.CANNOT,
        detail=f"{spec.name} takes pictures, sounds and videos in the request itself: from an "
        "address its server would fetch them, wherever that leads.",
        remedy="Send them as data: URLs; gateway.media_by_address: true lets it fetch.",
    )


def may_name_address(body: bytes) -> bool:
    """Whether it has to be decoded to know."""
    return any(sign in body for sign in _SIGNS) and body.lstrip(_BEFORE)[:1] == b"{"


def names_address(body: bytes) -> bool:
    """Also where it cannot be told, of a body that a server might read otherwise."""
    if not may_name_address(body):
        return False
    try:
        check_parts(body)
        said = from_json(body)
    except (NotAnObject, ValueError):
        return True
    return any(_is_addressed(part) for part in _objects(said))


def _objects(said: object) -> Iterator[Mapping[str, object]]:
    left = [said]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _is_addressed(part: Mapping[str, object]) -> bool:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        return False
    for held in part.values():
        stated = [held.get(name) for name in HELD_IN] if isinstance(held, dict) else [held]
        if any(isinstance(one, str) and one.lower().startswith(SCHEME) for one in stated):
            return True
    return False
