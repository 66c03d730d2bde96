"""What all tests share: a marker for a part of the machine means that the part is needed."""

import pytest

from tests import parts


def pytest_configure(config: pytest.Config) -> None:
    try:
        parts.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    for name, part in parts.PARTS.items():
        config.addinivalue_line("markers", f"{name}: needs {name} ({part.remedy})")


# A file is one worker's: what takes minutes begins first, or the others wait for it in the end.
LONGEST_FIRST = ("test_workflows.py", "test_docker.py", "test_compose.py", "test_ourselves.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in parts.PARTS:
        if item.get_closest_marker(name):
            parts.require(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = [each[2] for each in skipped if isinstance(each, tuple)]
    for line in parts.summary(reasons):
        terminalreporter.write_line(line, yellow=True)
