"""A turned volume is the transposed one, read by slices."""

from itertools import permutations

import numpy as np
import pytest

from copick_tools.volumes.turned import VIEWS, Turned

VOLUME = np.random.default_rng(0).normal(size=(5, 6, 7))


class Watched:
    """Says what was read of it."""

    shape, read = VOLUME.shape, None

    def __getitem__(self, region):
        Watched.read = region
        return VOLUME[region]


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_equal_to_a_transposed_volume(axes):
    turned, wanted = Turned(VOLUME, axes), np.transpose(VOLUME, axes)
    assert turned.shape == wanted.shape
    for region in (np.s_[:, :, :], np.s_[1:3, :, 2:], np.s_[2:2, :, :], np.s_[0:1, 3:50, -2:]):
        np.testing.assert_array_equal(turned[region], wanted[region])


def test_nothing_else_is_read():
    Turned(Watched(), (2, 0, 1))[6:7, 1:3, 2:4]
    assert Watched.read == np.s_[1:3, 2:4, 6:7]


def test_views_show_each_plane_once():
    assert VIEWS[0] == (0, 1, 2)
    assert {view[0] for view in VIEWS} == {0, 1, 2}
    assert all(view[1] < view[2] for view in VIEWS)
