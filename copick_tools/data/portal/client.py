"""Ask the portal: one client, batches of at most fifty ids, again where it stumbles."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import cryoet_data_portal as cdp
import requests
from gql import Client as GraphQL
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

from copick_tools.errors import PopsicleError

log = logging.getLogger("copick_tools")
Model = TypeVar("Model", bound=cdp._gql_base.Model)
Filter = Callable[[list[int]], list[Any]]  # ids -> filters of the portal's client

BATCH = 50  # ids in one query: more, and the portal answers 502
ATTEMPTS = 6
REFUSALS = 3  # attempts where nobody listens, or the portal says that the query is wrong
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 16.0  # seconds
TIMEOUT = 120  # seconds without a byte
AT_ONCE = 4  # queries


class Unreachable(PopsicleError):
    """The portal goes on failing."""


class _Client(cdp.Client):
    """The portal's client, which by itself would wait for ever for an answer."""

    def get_client(self) -> GraphQL:
        """As the client's own, with an end to its patience; asking again is left to `Portal`."""
        return GraphQL(transport=RequestsHTTPTransport(url=self.url, timeout=TIMEOUT), schema=self.schema)


class Portal:
    """The portal at an address."""

    def __init__(self, url: str | None = None) -> None:
        """url: the GraphQL endpoint; else that of POPSICLE_PORTAL_URL, else the public portal's."""
        address = url or os.environ.get("POPSICLE_PORTAL_URL") or None
        if address is not None and not address.startswith(("http://", "https://")):
            raise PopsicleError(f"'{address}' is no address of a portal", "POPSICLE_PORTAL_URL=https://…/graphql")
        self._client = _Client(address)

    @property
    def url(self) -> str:
        """The GraphQL endpoint."""
        return str(self._client.url)

    def find(self, model: type[Model], filters: list[Any]) -> list[Model]:
        """All rows that pass the filters. Raises Unreachable."""
        return _again(lambda: model.find(self._client, filters), self.url)

    def find_by(self, model: type[Model], ids: Iterable[int], filters: Filter) -> list[Model]:
        """Rows for many ids, asked for in batches; a batch that the portal can't bear is halved."""
        rows: list[Model] = []
        for batch in batches(sorted(set(ids))):
            rows += self._halving(model, batch, filters)
        return rows

    def find_all(self, ids: Sequence[int], queries: Sequence[tuple[type[Any], Filter]]) -> list[list[Any]]:
        """The answers to several queries about the same ids, asked at the same time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda query: self.find_by(query[0], ids, query[1]), queries))

    def _halving(self, model: type[Model], batch: list[int], filters: Filter) -> list[Model]:
        try:
            return self.find(model, filters(batch))
        except Unreachable as error:
            if len(batch) == 1 or isinstance(error.__cause__, requests.ConnectionError):
                raise
            log.debug("a query for %d ids failed: asking for halves", len(batch))
            middle = len(batch) // 2
            return self._halving(model, batch[:middle], filters) + self._halving(model, batch[middle:], filters)


def batches(ids: Sequence[int]) -> Iterator[list[int]]:
    """Portions that a query can bear."""
    for start in range(0, len(ids), BATCH):
        yield list(ids[start : start + BATCH])


def _again(ask: Callable[[], list[Model]], url: str) -> list[Model]:
    """Ask until there is an answer, at growing intervals."""
    attempt = refusals = 0
    while True:
        try:
            return ask()
        except (TransportError, requests.RequestException, OSError, ValueError, AssertionError) as error:
            attempt += 1
            refusals += isinstance(error, requests.ConnectionError | TransportQueryError)
            if refusals >= REFUSALS or attempt >= ATTEMPTS:
                raise Unreachable(
                    f"the portal at {url} doesn't answer: {_brief(error)}",
                    "is there a network? POPSICLE_PORTAL_URL names another endpoint",
                ) from error
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
            log.debug("the portal failed (%s): asking again in %.1f s", _brief(error), pause)
            time.sleep(pause)


def _brief(error: Exception) -> str:
    """The first line, not a page of HTML."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
