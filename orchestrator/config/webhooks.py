"""Which addresses a caller may have a load's end told to."""

from urllib.parse import unquote, urlsplit

from orchestrator.config.sections import WebhookSettings


def may_call_back(settings: WebhookSettings, url: str) -> bool:
    """Whether it lies under an address that the operator has listed, on the same host and port."""
    return any(_under(url, allowed) for allowed in settings.callback_urls)


def _under(url: str, allowed: str) -> bool:
    try:
        wanted, may = urlsplit(url), urlsplit(allowed)
        same = (wanted.scheme, wanted.hostname, wanted.port, wanted.username) == (
            may.scheme,
            may.hostname,
            may.port,
            None,
        )
    except ValueError:  # a port that is none
        return False
    above = may.path.rstrip("/")
    inside = wanted.path == above or wanted.path.startswith(f"{above}/") or not above
    return same and inside and ".." not in unquote(wanted.path).split("/")
