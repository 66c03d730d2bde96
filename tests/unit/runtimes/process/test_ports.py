import os
import socket
import subprocess
import sys

import pytest

from orchestrator.runtimes.process.ports import listens, reserved_port

HOST = "127.0.0.1"


def given_to_others(port):
    """Whether the kernel gives the port to those who leave the choice to it."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def test_a_reserved_port_is_for_who_names_it():
    port = reserved_port(HOST)
    assert not given_to_others(port)
    with socket.create_server((HOST, port)) as listener:
        assert listener.getsockname()[1] == port


def test_ports_are_reserved_apart():
    ports = [reserved_port(HOST) for _ in range(200)]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_who_listens_is_known(family):
    host = HOST if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        assert listens([os.getpid()], port)
        assert listens([2**22, os.getpid()], port)  # of one that has ended nothing is known
        assert not listens([os.getppid()], port)
        with socket.create_connection((host, port)) as caller:
            assert not listens([os.getpid()], caller.getsockname()[1])
    assert not listens([os.getpid()], port)


def test_a_listener_of_another_process_is_not_ours():
    script = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        port = int(other.stdout.readline())
        assert listens([other.pid], port)
        assert not listens([os.getpid()], port)
        other.stdin.close()
