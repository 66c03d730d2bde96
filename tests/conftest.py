"""What all tests share: parts of the machine, a directory for each run, and how long a test may take."""

from pathlib import Path

import pytest

from tests import pace, parts, scratch, walks

SCRATCH = pytest.StashKey[Path]()
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)  # before pytest chooses a directory
def pytest_configure(config: pytest.Config) -> None:
    try:
        parts.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    for name, part in parts.PARTS.items():
        config.addinivalue_line("markers", f"{name}: needs {name} ({part.remedy})")
    if config.option.basetemp is None:  # a worker is given one within that of the run
        config.stash[SCRATCH] = scratch.make()
        config.option.basetemp = config.stash[SCRATCH] / "run"
    config.pluginmanager.register(pace.Pace())


def pytest_unconfigure(config: pytest.Config) -> None:
    directory = config.stash.get(SCRATCH, None)
    if directory is not None and not config.stash.get(FAILED, False):
        scratch.remove(directory)


# A file is one worker's, so that its tests share what is slow to start. What takes minutes begins
# first, or all others wait for it in the end.
LONGEST_FIRST = ("test_workflows.py", "test_n8n_node.py", "test_docker.py", "test_compose.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker for a part of the machine means that the part is needed."""
    for name in parts.PARTS:
        if item.get_closest_marker(name):
            parts.require(name)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    config.stash[FAILED] = exitstatus == pytest.ExitCode.TESTS_FAILED
    if config.stash[FAILED]:
        terminalreporter.write_line(f"what the tests wrote: {config.stash.get(SCRATCH, None)}")
    stats = terminalreporter.stats
    skipped = [report.longrepr for report in stats.get("skipped", [])]
    reasons = [each[2] for each in skipped if isinstance(each, tuple)]
    reports = [
        report
        for kind in ("", "passed", "failed", "error")
        for report in stats.get(kind, [])
        if isinstance(report, pytest.TestReport)  # not what could not be collected
    ]
    for line in (*parts.summary(reasons), *pace.told(reports)):
        terminalreporter.write_line(line, yellow=True)
    for line in walks.told(reports):
        terminalreporter.write_line(line)
