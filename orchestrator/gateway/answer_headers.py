"""Which headers of a model server's answer reach its client, and what is said beside them.

The server may be anybody's program, and its answers come from our address: what speaks of more than
the answer itself would speak for us. A page is shown as one of nobody's, which runs no script and
has no cookie; no cookie is set, and nobody is sent elsewhere: clients take their keys along.
"""

import re

from orchestrator.gateway.asked import Headers

_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer"})
_BODILESS = frozenset({204, 304})  # a length that they state is that of another answer's body
_LENGTH = frozenset({b"content-length"})
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a value: no HTTP, whoever said it
# What a server says to browsers and clients about the address that it answers from.
NOT_ITS_OWN = frozenset(
    {
        *(b"set-cookie", b"clear-site-data", b"service-worker-allowed", b"alt-svc"),
        *(b"strict-transport-security", b"nel", b"report-to", b"reporting-endpoints"),
        *(b"location", b"refresh", b"link", b"www-authenticate", b"proxy-authenticate"),
        *(b"access-control-allow-origin", b"access-control-allow-credentials"),
        *(b"access-control-allow-methods", b"access-control-allow-headers"),
        *(b"access-control-allow-private-network", b"access-control-expose-headers"),
        *(b"access-control-max-age",),
    }
)
_LEFT_OUT = _HOP | NOT_ITS_OWN
ALONE: Headers = [
    (b"content-security-policy", b"sandbox"),
    (b"x-content-type-options", b"nosniff"),
]


def passed_on(headers: Headers, status: int) -> Headers:
    """`headers` have their names in lower case."""
    left_out = _LEFT_OUT | _LENGTH if status in _BODILESS else _LEFT_OUT
    kept = [
        header
        for header in headers
        if header[0] not in left_out and _UNSENDABLE.search(header[1]) is None
    ]
    return [*kept, *ALONE]


def head_passed_on(head: bytes) -> bytes:
    """Of an answer that is no more read than this: its first line and headers, as they came."""
    status, *lines = head.split(b"\r\n")
    kept = [
        line
        for line in lines
        if line.partition(b":")[0].strip().lower() not in NOT_ITS_OWN
        and line[:1] not in (b" ", b"\t")  # the rest of a header that may have been left out
        and _UNSENDABLE.search(line) is None
    ]
    alone = [name + b": " + value for name, value in ALONE]
    return b"\r\n".join((_UNSENDABLE.sub(b"", status), *kept, *alone))
