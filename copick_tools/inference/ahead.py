"""Do the next piece of work while the caller is busy with the last."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
END = object()


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The items of an iterator, each made in a background thread while the caller uses the one before: one ahead, no more.

    What it raises is raised here. Closing this generator ends the thread and closes a generator.
    """
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
            upcoming = thread.submit(next, items, END)
            while (item := upcoming.result()) is not END:
                upcoming = thread.submit(next, items, END)
                yield item  # type: ignore[misc]
    finally:
        if isinstance(items, Generator):
            items.close()
