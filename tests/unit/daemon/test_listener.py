import socket

import pytest

from orchestrator.daemon.listener import listener_at


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_connects_before_anything_is_served_waits(host):
    with listener_at(host, 0, "Choose another.") as listener:
        socket.create_connection(listener.getsockname()[:2], timeout=5).close()


def test_a_port_that_is_taken_is_told_with_what_helps():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"127.0.0.1:{port} cannot be listened on: Address already in use.*Choose another."
        with pytest.raises(OSError, match=told):
            listener_at("127.0.0.1", port, "Choose another.")
