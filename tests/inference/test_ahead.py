"""One item ahead, no more; errors and closing reach across."""

import threading
import time

import pytest

from copick_tools.inference.ahead import ahead


def count(made, closed, last=5, bad=None):
    try:
        for n in range(last):
            if n == bad:
                raise OSError(f"item {n}")
            made.append(n)
            yield n
    finally:
        closed.append(threading.current_thread().name)


def settled(made, length):
    deadline = time.monotonic() + 5
    while len(made) < length and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    return list(made)


def test_one_ahead():
    made, closed = [], []
    items = ahead(count(made, closed))
    assert made == []
    for n in range(4):
        assert next(items) == n
        assert settled(made, n + 2) == list(range(n + 2))
    assert list(items) == [4]
    assert len(closed) == 1


def test_errors_arrive_in_their_place():
    items = ahead(count([], [], bad=2))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match="item 2"):
        next(items)


def test_closing_closes_both():
    made, closed = [], []
    items = ahead(count(made, closed, 1000))
    next(items)
    items.close()
    assert len(made) <= 2
    assert len(closed) == 1
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_nothing():
    assert list(ahead(count([], [], 0))) == []
