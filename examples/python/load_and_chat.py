"""Has a model loaded, asks it, and gives it back whatever happens.

    python examples/python/load_and_chat.py chat "What is the capital of France?"

Needs httpx (`pip install httpx`). ORCHESTRATOR_URL says where the daemon is.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

URL = os.environ.get("ORCHESTRATOR_URL", "http://127.0.0.1:8000")
OWNER = f"load-and-chat-{os.getpid()}"  # whose hold it is: two programs never take each other's
LEASE_S = 600  # it ends by itself if this program dies
TRIES_MAX = 5
WAIT_S_MAX = 60.0
ANSWER_S_MAX = 300.0  # the daemon itself answers a load within 240 s


class Refused(Exception):
    """The daemon says no, and what would help."""


@contextmanager
def loaded(model: str) -> Iterator[str]:
    """The address at which the model answers, for as long as it is needed."""
    with httpx.Client(base_url=URL, timeout=ANSWER_S_MAX) as daemon:
        order = {"model": model, "owner": OWNER, "lease_seconds": LEASE_S}
        answer = patiently(daemon, "/models/load", order)
        endpoint = answer.json()["endpoint"]
        try:
            yield endpoint
        finally:
            # With an owner, only this owner's hold ends: others go on using the model.
            daemon.post("/models/unload", json={"model": model, "owner": OWNER})


def patiently(daemon: httpx.Client, path: str, body: dict[str, object]) -> httpx.Response:
    """What is 503 now may go later: Retry-After says when. Anything else is final."""
    for tries_left in reversed(range(TRIES_MAX)):
        answer = daemon.post(path, json=body)
        if answer.is_success:
            return answer
        told = answer.json()
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or not tries_left:
            break
        print(f"{told['detail']} Once more in a moment.", file=sys.stderr)
        time.sleep(min(float(answer.headers.get("Retry-After", 1)), WAIT_S_MAX))
    raise Refused(f"{told['code']}: {told['detail']} {told['remedy']}")


def chat(endpoint: str, question: str) -> str:
    """What the model answers: its server speaks OpenAI's API."""
    messages = [{"role": "user", "content": question}]
    body = {"messages": messages, "max_tokens": 256}
    answer = httpx.post(f"{endpoint}/v1/chat/completions", json=body, timeout=ANSWER_S_MAX)
    answer.raise_for_status()
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def main() -> int:
    model, question = sys.argv[1:3]
    try:
        with loaded(model) as endpoint:
            print(chat(endpoint, question))
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
