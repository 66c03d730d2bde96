import os
import pwd
import sys
from pathlib import Path

import pytest

from orchestrator.cli.service.account import (
    NotPrepared,
    ServiceAccount,
    account,
    groups_for,
    problems,
    require_readable,
)

ME = pwd.getpwuid(os.getuid()).pw_name


def me() -> ServiceAccount:
    found = ServiceAccount.named(ME)
    assert found is not None
    return found


def test_a_user_is_found_and_one_that_is_not_there_is_not_made():
    assert account(ME).uid == os.getuid()
    with pytest.raises(NotPrepared, match="no user nobody-of-that-name") as refused:
        account("nobody-of-that-name")
    assert "--as" in refused.value.remedy


def test_a_folder_is_its_owners_alone(tmp_path):
    me().owns(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_no_group_is_asked_for_without_containers():
    assert groups_for(docker=False) == []
    assert groups_for(docker=True) in ([], ["docker"])


def says(text: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import sys; sys.stdout.write({text!r}); sys.stderr.write('why')",
    ]


def test_what_is_wrong_is_told_and_what_is_missing_is_not(tmp_path):
    report = (
        '{"findings": [{"verdict": "problem", "what": "a"}, {"verdict": "missing", "what": "b"}]}'
    )
    assert problems(me(), [], tmp_path, says(report)) == [{"verdict": "problem", "what": "a"}]


def test_a_folder_that_it_may_not_read_is_named(tmp_path):
    require_readable(me(), [], tmp_path)
    with pytest.raises(NotPrepared, match="may not read"):
        require_readable(me(), [], tmp_path / "none")


@pytest.mark.parametrize("command", [says("no JSON"), [str(Path("/no/such/program"))]])
def test_who_cannot_run_it_is_told_the_ways_out(command, tmp_path):
    with pytest.raises(NotPrepared, match=f"{ME} cannot run it: ") as refused:
        problems(me(), [], tmp_path, command)
    assert "--as USER" in refused.value.remedy
