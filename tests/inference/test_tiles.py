"""Tiles share an image out, and their halos stay within it."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.inference import tiles as module
from copick_tools.inference.tiles import Tile, tiles

side = st.integers(1, 40)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(side, side, st.one_of(st.none(), side, st.tuples(side, side)), st.integers(0, 9))
def test_each_pixel_is_in_one_inner_box(height, width, tile, halo):
    found = tiles((height, width), tile, halo)
    owned = np.zeros((height, width), int)
    for one in found:
        owned[one.inner] += 1
        most = (height, width) if tile is None else np.broadcast_to(tile, 2)
        for inner, outer, length, allowed in zip(one.inner, one.outer, (height, width), most):
            assert 1 <= inner.stop - inner.start <= allowed
            assert (outer.start, outer.stop) == (max(0, inner.start - halo), min(length, inner.stop + halo))
    assert (owned == 1).all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(side, side, side, st.floats(0, 0.999), st.floats(0, 0.999))
def test_each_place_has_one_owner(height, width, tile, y, x):
    owners = [one for one in tiles((height, width), tile, 2) if one.owns(y * height, x * width)]
    assert len(owners) == 1


def test_as_few_and_as_equal_as_can_be():
    sizes = [one.inner[1].stop - one.inner[1].start for one in tiles((1, 100), 32)]
    assert sizes == [25, 25, 25, 25]


def test_row_by_row():
    corners = [(one.inner[0].start, one.inner[1].start) for one in tiles((4, 6), (2, 3))]
    assert corners == [(0, 0), (0, 3), (2, 0), (2, 3)]


def test_a_place_between_two():
    left, right = tiles((2, 8), 4)
    assert not left.owns(1.0, 4.0)
    assert right.owns(1.0, 4.0)
    assert isinstance(left, Tile)


@pytest.mark.parametrize(
    ("shape", "tile", "halo"), [((4, 4), 0, 0), ((4, 4), 2, -1), ((0, 4), 2, 0), ((4, 4), (2, -3), 0)]
)
def test_refusals(shape, tile, halo):
    with pytest.raises(ValueError, match="Expected positive sides"):
        tiles(shape, tile, halo)


def test_examples():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted >= 3
