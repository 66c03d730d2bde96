import pytest

from orchestrator.cli.client import URL_DEFAULT
from orchestrator.cli.main import parser
from orchestrator.daemon.first_steps import first_steps, reached_at


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001"),
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("::", "http://[::1]:8001"),
        ("fd00::7", "http://[fd00::7]:8001"),
    ],
)
def test_the_url_is_one_that_can_be_asked(host, url):
    assert reached_at(host, 8001) == url


def test_at_the_usual_address_three_things_are_named_and_nothing_has_to_be_exported():
    lines = first_steps(URL_DEFAULT, ["a", "b"])
    assert len(lines) == 4
    assert "orchestrator run a " in lines[2]
    assert f"{URL_DEFAULT}/v1" in lines[2]


def test_at_another_address_it_says_what_to_export_first():
    lines = first_steps("http://127.0.0.1:18000", ["a"])
    assert lines[0].endswith("export ORCHESTRATOR_URL=http://127.0.0.1:18000")
    assert len(lines) == 5


def test_what_is_named_is_what_the_command_line_knows():
    for models in ([], ["a"]):
        for line in first_steps(URL_DEFAULT, models)[1:]:
            typed, _, _ = line.strip().partition("  ")
            parser().parse_args(typed.split()[1:])
