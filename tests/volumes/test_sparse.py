"""Mostly empty volumes slice like arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.sparse import Sparse, occupied

SIDES = st.tuples(*[st.integers(0, 9)] * 3)


@settings(deadline=None, derandomize=True)
@given(SIDES, st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([np.uint8, np.float16, np.int32]))
def test_any_slice_is_that_of_the_array(shape, seed, density, dtype):
    rng = np.random.default_rng(seed)
    dense = (rng.random(shape) < density).astype(dtype) * dtype(3)
    volume = Sparse(shape, dtype)
    for z0 in range(0, shape[0], 4):
        volume.append(dense[z0 : z0 + 4])
    starts, stops = ([int(rng.integers(-n - 2, n + 3)) for n in shape] for _ in range(2))
    region = tuple(slice(a, b) for a, b in zip(starts, stops))
    np.testing.assert_array_equal(volume[region], dense[region])
    np.testing.assert_array_equal(volume[:, :, :], dense)
    assert volume[region].dtype == dtype


def test_memory_follows_what_is_there():
    volume = Sparse((2, 100, 100), np.uint8)
    empty, full = np.zeros((1, 100, 100), np.uint8), np.ones((1, 100, 100), np.uint8)
    volume.append(empty)
    assert volume.nbytes == 0
    volume.append(full)
    assert volume.nbytes == 10_000


def test_planes_come_in_order_and_fit():
    volume = Sparse((1, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="planes of"):
        volume.append(np.zeros((1, 3, 2), np.uint8))
    volume.append(np.ones((1, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="there already"):
        volume.append(np.ones((1, 2, 3), np.uint8))
    with pytest.raises(IndexError, match="steps"):
        volume[:, ::2, :]
    for region in (0, (0, 0, 0), ..., (slice(None),) * 4, (slice(None), ...), None):
        with pytest.raises(IndexError, match="slices"):
            volume[region]


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 50), st.floats(0, 1), st.integers(0, 1000))
def test_occupied_is_flatnonzero(length, density, seed):
    rng = np.random.default_rng(seed)
    values = (rng.random(length) < density) * rng.integers(1, 255, length)
    for dtype in (np.uint8, np.uint16, np.float32):
        np.testing.assert_array_equal(occupied(values.astype(dtype)), np.flatnonzero(values))
