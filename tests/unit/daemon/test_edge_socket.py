import socket

from orchestrator.config.edge_section import EdgeSettings
from orchestrator.daemon.edge_socket import edge_socket


def test_none_is_none():
    with edge_socket(None) as none:
        assert none is None


def test_only_its_owner_reaches_it_and_a_successor_takes_its_place(tmp_path):
    edge = EdgeSettings(dir=str(tmp_path / "state" / "edge"))
    for _ in range(2):
        with edge_socket(edge) as opened:
            _, listener = opened
            folder = tmp_path / "state" / "edge"
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (folder / "daemon.sock").stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(folder / "daemon.sock"))
                listener.accept()[0].close()


def test_in_a_folder_that_was_given_to_a_group_its_members_reach_it_and_nobody_else(tmp_path):
    folder = tmp_path / "edge"
    folder.mkdir()
    folder.chmod(0o777)
    with edge_socket(EdgeSettings(dir=str(folder))):
        assert folder.stat().st_mode & 0o777 == 0o770
        assert (folder / "daemon.sock").stat().st_mode & 0o777 == 0o666
