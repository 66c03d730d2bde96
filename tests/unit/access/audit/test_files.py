"""The chain on a real disk: what it says of kills, edits, rotations and several writers."""

import json
import os

import pytest

from orchestrator.access.audit.chain import CURRENT, BrokenChain, read_head, verify
from orchestrator.access.audit.files import AuditFile, Dated
from orchestrator.access.audit.lines import NOTHING_YET, Act, Head
from orchestrator.access.caller import Caller, Via
from tests import parts

CALLER = Caller(address="10.0.0.7", via=Via.HTTP)
AT = "2026-01-15T16:36:35.000Z"


def act(target="qwen", action="model.unload"):
    return Dated(AT, Act(action=action, caller=CALLER, target=target))


def opened(folder, bytes_max=10 << 20, files_max=10):
    return AuditFile(folder, bytes_max=bytes_max, files_max=files_max)


def lines(folder, name=CURRENT):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture
def written(tmp_path):
    """Ten lines."""
    file = opened(tmp_path)
    file.write([act(f"m{number}") for number in range(10)], sync=True)
    file.close()
    return tmp_path


def test_lines_follow_one_another_and_the_head_is_the_last(tmp_path):
    file = opened(tmp_path)
    heads = file.write([act("a"), act("b")], sync=False) + file.write([act("c")], sync=True)
    assert [head.seq for head in heads] == [1, 2, 3]
    assert [line["target"] for line in lines(tmp_path)] == ["a", "b", "c"]
    assert verify(tmp_path).head == heads[-1] == file.head
    assert (tmp_path / CURRENT).stat().st_mode & 0o777 == 0o600


def test_a_next_life_goes_on(written):
    before = verify(written).head
    file = opened(written)
    (head,) = file.write([act("next")], sync=True)
    assert head.seq == before.seq + 1
    assert lines(written)[-1]["prev"] == before.digest
    assert verify(written).head == head


def edit(text):
    return text.replace('"m4"', '"mX"')


def delete(text):
    rows = text.splitlines(keepends=True)
    return "".join(rows[:4] + rows[5:])


def swap(text):
    rows = text.splitlines(keepends=True)
    rows[4], rows[5] = rows[5], rows[4]
    return "".join(rows)


def duplicate(text):
    rows = text.splitlines(keepends=True)
    return "".join([*rows[:5], rows[4], *rows[5:]])


def garble(text):
    rows = text.splitlines(keepends=True)
    rows[4] = "what?\n"
    return "".join(rows)


@pytest.mark.parametrize(
    ("change", "line"), [(edit, 6), (delete, 5), (swap, 5), (duplicate, 6), (garble, 5)]
)
def test_edit_delete_swap_truncate_are_found(written, change, line):
    path = written / CURRENT
    path.write_text(change(path.read_text()))
    with pytest.raises(BrokenChain) as broken:
        verify(written)
    assert (broken.value.file, broken.value.line) == (path, line)


def test_a_shorter_log_is_found_by_a_head_that_was_noted(written):
    noted = verify(written).head
    path = written / CURRENT
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    assert verify(written).head.seq == 7, "a chain alone says nothing of its end"
    with pytest.raises(BrokenChain, match="ends with line 7, and line 10 was noted"):
        verify(written, noted)


def test_a_rewritten_end_is_found_by_a_head_that_was_noted(written):
    noted = verify(written).head
    path = written / CURRENT
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    file = opened(written)
    file.write([act("forged") for _ in range(5)], sync=True)
    assert verify(written).head.seq == 12
    with pytest.raises(BrokenChain, match="not the line 10 that was noted"):
        verify(written, read_head(f"{noted.seq}:{noted.digest[:12]}"))


@pytest.mark.parametrize("torn", [1, 20])
def test_a_line_that_a_kill_cut_off_is_repaired_and_said(written, torn):
    path = written / CURRENT
    os.truncate(path, path.stat().st_size - torn)
    assert verify(written).torn_bytes > 0
    file = opened(written)
    file.write([act("after")], sync=True)
    followed = verify(written)
    assert (followed.torn_bytes, followed.head.seq) == (0, 11)
    repaired, after = lines(written)[-2:]
    assert (repaired["action"], repaired["outcome"]) == ("audit.repaired", "failed")
    assert repaired["numbers"]["torn_bytes"] > 0
    assert after["target"] == "after"


def test_an_end_that_is_none_of_ours_is_said_and_stays_found(written):
    with (written / CURRENT).open("a") as file:
        file.write("what?\n")
    opened(written).write([act("after")], sync=True)
    damaged, after = lines_from(written, 11)
    assert damaged["action"] == "audit.damaged"
    assert after["target"] == "after"
    with pytest.raises(BrokenChain, match="line 11"):
        verify(written)


def lines_from(folder, start):
    rows = (folder / CURRENT).read_text().splitlines()
    return [json.loads(row) for row in rows[start:]]


def test_rotation_by_size_keeps_the_chain_and_drops_the_oldest(tmp_path):
    file = opened(tmp_path, bytes_max=2000, files_max=4)
    heads = [file.write([act(f"m{number}")], sync=False)[0] for number in range(60)]
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 4
    followed = verify(tmp_path)
    assert followed.head == heads[-1]
    assert followed.first > 1
    first = lines(tmp_path)[0]
    assert (first["action"], first["target"]) == ("audit.continued", files[-2])
    assert int(files[-2][6:18]) == first["seq"] - 1
    with pytest.raises(BrokenChain):
        verify(tmp_path, Head(heads[-1].seq, "0" * 64))
    verify(tmp_path, heads[0])  # it was dropped: nothing can be said of it


def test_a_kill_between_the_rename_and_the_new_file(written):
    (written / CURRENT).rename(written / "audit-000000000010.jsonl")
    opened(written).write([act("after")], sync=True)
    first, after = lines(written)
    assert (first["action"], first["seq"]) == ("audit.continued", 11)
    assert after["target"] == "after"
    verify(written)


def test_a_missing_file_in_the_middle_is_found(tmp_path):
    file = opened(tmp_path, bytes_max=2000, files_max=9)
    for number in range(30):
        file.write([act(f"m{number}")], sync=False)
    sorted(tmp_path.glob("audit-*"))[1].unlink()
    with pytest.raises(BrokenChain, match="and follows"):
        verify(tmp_path)


def test_two_writers_go_on_after_one_another_over_rotations(tmp_path):
    daemon, command = opened(tmp_path, bytes_max=3000), opened(tmp_path, bytes_max=3000)
    for number in range(20):
        daemon.write([act(f"daemon {number}")], sync=False)
        command.write([act(f"command {number}")], sync=False)
    followed = verify(tmp_path)
    assert followed.head == command.head
    assert followed.files > 3


def test_what_another_changes_under_a_running_daemon_is_said(written):
    file = opened(written)
    file.write([act("before")], sync=True)
    path = written / CURRENT
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    file.write([act("after")], sync=True)
    damaged = lines(written)[5]
    assert (damaged["action"], damaged["numbers"]) == ("audit.damaged", {"last_known": 11})


def test_a_write_that_fails_leaves_nothing(written, monkeypatch):
    file = opened(written)
    file.write([act("before")], sync=True)
    size = (written / CURRENT).stat().st_size
    real = os.write

    def half(descriptor, data):
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(data[: len(data) // 2]))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        file.write([act("a"), act("b")], sync=True)
    assert (written / CURRENT).stat().st_size == size
    monkeypatch.setattr(os, "write", real)
    (head,) = file.write([act("c")], sync=True)
    assert head.seq == 12
    assert verify(written).head == head


def test_an_empty_folder_is_right(tmp_path):
    assert verify(tmp_path).head == NOTHING_YET


def test_a_symbolic_link_is_not_written_through(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / CURRENT).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        opened(tmp_path).write([act()], sync=True)


def test_file_that_root_begins_is_of_the_daemons_user(tmp_path):
    parts.require("mount")  # root, who alone makes files for others
    os.chown(tmp_path, 65534, 65534)
    file = opened(tmp_path)
    file.write([act()], sync=True)
    file.close()
    assert (tmp_path / CURRENT).stat().st_uid == 65534
