"""Where the daemon's own log goes, and what never stands in it."""

import logging
import sys

from orchestrator.access.scrubbing import Scrubbing


def set_up_logging(*, verbose: bool) -> None:
    """To standard error, without secrets, whoever says them."""
    output = logging.StreamHandler(sys.stderr)
    output.addFilter(Scrubbing())
    logging.basicConfig(
        level=logging.INFO,
        handlers=[output],
        format="%(asctime)s %(levelname)-7s %(message)s",
    )
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("orchestrator").setLevel(logging.DEBUG if verbose else logging.NOTSET)
