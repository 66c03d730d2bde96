"""The word `pull` at a terminal: settings from the environment, progress in words, an exit code."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from orchestrator.hub.access import access_from
from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.progress import Phase, Progress
from orchestrator.hub.pulling import cached, pull
from orchestrator.hub.references import NAMES

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
STEP_PERCENT = 5  # between two lines in a log; a terminal sees every percent


def pull_and_tell(reference: str, environ: Mapping[str, str], *, if_missing: bool = False) -> int:
    """Print the model's path, or what went wrong and what to do. An exit code; never raises."""
    access = access_from(environ)
    told = _Told(sys.stderr)
    try:
        path = cached(reference, home=access.home) if if_missing else None
        if path is None:
            path = pull(
                reference,
                home=access.home,
                endpoint=access.endpoint,
                token=access.token,
                progress=told.report,
            )
    except PullFailed as failure:
        told.finish()
        sys.stderr.write(f"{failure.detail}\n{failure.remedy}\n")
        return MISUSED if failure.cause is Cause.INVALID else FAILED
    except KeyboardInterrupt:
        told.finish()
        sys.stderr.write("Interrupted. What has arrived is kept: run it again to go on.\n")
        return INTERRUPTED
    told.finish()
    sys.stdout.write(f"{path}\n")
    return DONE


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The command `python -m orchestrator.hub`. Raises SystemExit as argparse does."""
    parser = argparse.ArgumentParser(
        prog="download-model.sh",
        description="Downloads a GGUF, its parts and its projector, and prints where it is.",
        epilog="HF_HOME is where it goes, HF_ENDPOINT where it comes from, HF_TOKEN who asks.",
    )
    parser.add_argument(
        "reference",
        metavar="NAME|REPO[:FILE]",
        help=f"a repository and one of its files, or {', '.join(sorted(NAMES))}",
    )
    parser.add_argument(
        "--if-missing",
        action="store_true",
        help="ask no hub if an earlier download is here",
    )
    words = parser.parse_args(arguments)
    return pull_and_tell(words.reference, environ, if_missing=words.if_missing)


class _Told:
    """Says what is new: a line that changes on a terminal, few lines in a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last: tuple[Phase, str, int] | None = None
        self._open = False  # a line on the terminal that has no end yet

    def report(self, progress: Progress) -> None:
        step = 1 if self._terminal else STEP_PERCENT
        now = (progress.phase, progress.file, progress.percent // step)
        if now == self._last or progress.phase is Phase.DONE:
            return
        self._last = now
        line = progress.in_words()
        self._stream.write(f"\r\033[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._open = self._terminal

    def finish(self) -> None:
        if self._open:
            self._stream.write("\n")
            self._open = False
