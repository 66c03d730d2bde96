"""The SDK's client, on connections to a Unix socket that leave nothing open when they fail.

The SDK's own connection forgets its socket where no engine listens, and the garbage collector
complains about it later, in some other place.
"""

import socket
from typing import Any

from docker import APIClient
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from requests.adapters import BaseAdapter


class DockerClient(APIClient):
    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        if isinstance(adapter, UnixHTTPAdapter):
            adapter = _Adapter(f"http+unix://{adapter.socket_path}", adapter.timeout)
        super().mount(prefix, adapter)


class _Adapter(UnixHTTPAdapter):
    def get_connection(self, url: bytes | str, proxies: Any = None) -> UnixHTTPConnectionPool:  # noqa: ARG002
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(str(url), self.socket_path, self.timeout, self.max_pool_size)
                self.pools[url] = pool
        return pool


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout_s: Any = self.timeout  # as it was given, though the stubs call it a Timeout
        return _Connection(self.base_url, self.socket_path, timeout_s)


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.settimeout(self.timeout)
            opened.connect(self.unix_socket)
        except BaseException:
            opened.close()
            raise
        self.sock = opened
