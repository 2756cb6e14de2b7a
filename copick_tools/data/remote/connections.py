"""Connections to servers of files."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import requests
import urllib3

from copick_tools.errors import FormatError

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 30.0  # seconds


class Connections:
    """Pools of connections that are kept open; proxies and trusted authorities are those of requests."""

    def __init__(self, at_once: int) -> None:
        self._settings: dict[str, Any] = {
            "num_pools": 8,
            "maxsize": at_once,
            "retries": urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
            "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        }
        trusted = requests.Session().merge_environment_settings("https://", {}, None, None, None)["verify"]
        self._settings["ca_certs"] = trusted if isinstance(trusted, str) else requests.certs.where()
        self._lock = threading.Lock()
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def to(self, url: str) -> urllib3.PoolManager:
        """The pools for an address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise FormatError(f"'{url}' is no address that files can be fetched from")
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = (
                    urllib3.ProxyManager(proxy, **self._settings) if proxy else urllib3.PoolManager(**self._settings)
                )
            return self._pools[proxy]

    def close(self) -> None:
        """End all connections."""
        for pool in self._pools.values():
            pool.clear()
