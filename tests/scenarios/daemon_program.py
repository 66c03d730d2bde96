"""What `orchestrator serve` imports, also later, and what it makes only once; see tests/preloaded.py."""

import httpcore
import uvicorn.protocols.http.auto
import uvicorn.protocols.websockets.auto

import orchestrator.daemon.serve
from orchestrator.cli.main import main
from orchestrator.config.loading import DEFAULT_CONFIG, load_services

__all__ = ["httpcore", "main", "orchestrator", "uvicorn"]

load_services(DEFAULT_CONFIG)
