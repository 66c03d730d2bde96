"""What browsers let our pages do: run what comes from here, and nothing that a text becomes."""

from collections.abc import Mapping


def page_headers(*more: str, policies: str) -> Mapping[str, str]:
    """The headers of a page. `policies` are those by which it may make scripts of texts."""
    rules = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        f"trusted-types {policies}",
        *more,
    )
    return {
        "Content-Security-Policy": "; ".join(rules),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
