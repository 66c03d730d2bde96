"""Brings model files from a Hugging Face hub into a cache of its own layout, whole and verified.

Knows nothing of the daemon and needs only httpx, so the model server's image carries it as well.
Everything blocks: a daemon calls it from a thread, and ends it by raising from its progress
callback, which is asked at least at every piece that arrives and every second of waiting.
"""

from orchestrator.hub.access import ENDPOINT, Access, access_from
from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.layout import path_in_repository, projector_beside
from orchestrator.hub.peeking import Peek, PeekedFile, peek
from orchestrator.hub.progress import Patience, Phase, Progress, Report
from orchestrator.hub.publishing import Offer, published
from orchestrator.hub.pulling import cached, pull
from orchestrator.hub.references import NAMES, Reference, parse

__all__ = [
    "ENDPOINT",
    "NAMES",
    "Access",
    "Cause",
    "Offer",
    "Patience",
    "Peek",
    "PeekedFile",
    "Phase",
    "Progress",
    "PullFailed",
    "Reference",
    "Report",
    "access_from",
    "cached",
    "parse",
    "path_in_repository",
    "peek",
    "projector_beside",
    "published",
    "pull",
]
