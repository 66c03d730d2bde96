import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from orchestrator.access.keys import acts, store
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.store import KeyChange, KeyFile, KeysUnreadable
from orchestrator.access.keys.wish import KeyWish
from tests.unit.access.keys.samples import NOW_S, key
from tests.unit.access.keys.stored import read_once

WISH = KeyWish(name="ci", scopes=(KeyScope.READ,))


@pytest.fixture
def file(tmp_path):
    file = KeyFile.at(tmp_path)
    yield file
    file.close()


def test_without_a_file_there_are_no_keys_and_reading_makes_none(file):
    assert file.read().keys == {}
    assert file.read_if_changed() is None
    assert not file.path.exists()


def test_file_is_for_its_owner_alone(file):
    old = os.umask(0)
    try:
        acts.create(file, WISH, NOW_S)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_change_by_another_is_seen_once(file, tmp_path):
    other = KeyFile.at(tmp_path)
    acts.create(other, WISH, NOW_S)
    first = file.read_if_changed()
    assert file.read_if_changed() is None
    acts.create(other, WISH, NOW_S)
    second = file.read_if_changed()
    assert (len(first.keys), len(second.keys)) == (1, 2)
    assert second.generation > first.generation
    other.close()


def test_file_in_the_place_of_another_is_read(file, tmp_path):
    acts.create(file, WISH, NOW_S)
    assert len(file.read_if_changed().keys) == 1
    (tmp_path / "aside").mkdir()
    other = KeyFile.at(tmp_path / "aside")
    for _ in range(3):
        acts.create(other, WISH, NOW_S)
    other.close()
    other.path.replace(file.path)
    assert len(file.read_if_changed().keys) == 3
    file.path.unlink()
    assert file.read_if_changed() is None


def test_decision_that_raises_changes_nothing(file):
    acts.create(file, WISH, NOW_S)

    def decide(_):
        raise LookupError("no")

    with pytest.raises(LookupError):
        file.change(decide)
    assert file.read().generation == 1


@pytest.mark.parametrize("damage", ["bytes", "row", "newer", "folder"])
def test_damage_is_named_and_never_an_empty_table(file, damage):
    acts.create(file, WISH, NOW_S)
    file.close()
    if damage == "bytes":
        file.path.write_bytes(b"nothing that SQLite knows" * 100)
    elif damage == "folder":
        file.path.unlink()
        file.path.mkdir()
    else:
        said = {"row": "UPDATE keys SET record = '{}'", "newer": "PRAGMA user_version = 9"}[damage]
        connection = sqlite3.connect(file.path, isolation_level=None)
        connection.execute(said)
        connection.close()
    for look in (file.read, file.read_if_changed, lambda: acts.create(file, WISH, NOW_S)):
        with pytest.raises(KeysUnreadable, match=r"keys\.sqlite"):
            look()


def test_sessions_are_bounded_and_the_oldest_go_first(file, monkeypatch):
    monkeypatch.setattr(store, "SESSIONS_MAX", 2)
    new, _ = acts.create(file, WISH, NOW_S)
    cookies = [
        acts.log_in(file, acts.Presented(new.record), NOW_S)[0][0].encode() for _ in range(3)
    ]
    table = file.read()
    assert [table.session(one, NOW_S) is not None for one in cookies] == [False, True, True]


def _make_keys(path, count):
    file = KeyFile.at(path)
    for _ in range(count):
        acts.create(file, WISH, NOW_S)
    file.close()


def test_processes_that_make_keys_at_once_lose_none(tmp_path):
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make_keys, args=(tmp_path, 5)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    table = read_once(tmp_path)
    assert (len(table.keys), table.generation) == (15, 15)


def test_key_that_was_shown_outlives_a_kill(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tests.unit.access.keys.test_store import *;"
        "print(acts.create(KeyFile.at(Path(sys.argv[1])), WISH, 1.0)[0].secret, flush=True);"
        "time.sleep(60)"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with maker:
        secret = maker.stdout.readline().strip()
        maker.send_signal(signal.SIGKILL)
    assert read_once(tmp_path).shown(secret.encode()) is not None


def test_rows_are_read_as_they_were_written(file):
    rich = key(KeyScope.USE, KeyScope.LEASE, models=("a*",), networks=("192.0.2.0/24",), burst=3)
    file.change(lambda _: (None, KeyChange(put=(rich,))))
    assert file.read().keys == {rich.id: rich}
