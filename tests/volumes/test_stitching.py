"""Objects of slices go on in the next slice as their mutual best partner, and only as that."""

import numpy as np
import pytest
from volumes.blobs import accuracy, touching

from copick_tools.volumes.stitching import stitched


def by_hand(ids, threshold):
    """The same with sets of pixels."""
    out, names, count = np.zeros(ids.shape, int), {}, 0
    for z in range(len(ids)):
        here = {value: set(np.flatnonzero(ids[z] == value).tolist()) for value in np.unique(ids[z]) if value}
        before = {n: set(np.flatnonzero(out[z - 1] == n).tolist()) for n in np.unique(out[z - 1]) if n and z}
        iou = {(a, b): len(p & q) / len(p | q) for a, p in before.items() for b, q in here.items() if p & q}
        ranked = sorted(iou, key=lambda pair: (-iou[pair], *pair))
        first = dict(reversed(ranked))
        back = {b: a for a, b in reversed(ranked)}
        names = {b: a for a, b in first.items() if back[b] == a and iou[a, b] >= threshold}
        for b in sorted(here):
            if b not in names:
                count += 1
                names[b] = count
            out[z][ids[z] == b] = names[b]
    return out


def renamed(ids, seed=0):
    """Ids that count in each slice alone, gaps among them."""
    rng = np.random.default_rng(seed)
    return np.stack([np.r_[0, 1 + rng.permutation(3 * ids.max())][plane] for plane in ids])


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_sets_of_pixels(threshold, seed):
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 4, (5, 3, 4)), np.ones((1, 3, 3), int))
    ids = np.where(rng.random(ids.shape) < 0.2, rng.integers(0, 6, ids.shape), ids)
    np.testing.assert_array_equal(stitched(ids, threshold), by_hand(ids, threshold))
    np.testing.assert_array_equal(stitched(ids.astype(np.uint32), threshold), by_hand(ids, threshold))


def test_perfect_slices_of_columns():
    columns = np.repeat(touching((1, 40, 40), 8, 8.0), 6, axis=0)
    found = stitched(renamed(columns))
    assert accuracy(columns, found) == 1
    assert found.dtype == np.uint32
    assert sorted(np.unique(found)) == list(range(9))


def test_split_and_merge():
    whole, left, right = [1] * 10, [1] * 6 + [0] + [2] * 3, [2] * 2 + [0] + [1] * 7
    split = stitched(np.array([[whole], [left]]), 0.25)
    assert split.tolist() == [[whole], [[1] * 6 + [0] + [2] * 3]]  # the larger part goes on, the other begins
    merged = stitched(np.array([[right], [whole]]), 0.25)
    assert merged.tolist() == [[right], [[1] * 10]]


def test_the_best_partner_has_to_agree():
    one = [1] * 6 + [2] * 6
    other = [0] * 2 + [5] * 9 + [0]  # shares 4 with 1 and 5 with 2
    assert stitched(np.array([[one], [other]]), 0.1).tolist() == [[one], [[0] * 2 + [2] * 9 + [0]]]
    assert stitched(np.array([[one], [other]]), 0.6).tolist() == [[one], [[0] * 2 + [3] * 9 + [0]]]


def test_the_threshold_is_reached_by_equal_ones():
    slices = np.array([[[1, 1, 1, 0]], [[0, 1, 1, 1]]])  # IoU 0.5
    assert stitched(slices, 0.5).max() == 1
    assert stitched(slices, 0.5001).max() == 2


def test_an_empty_slice_ends_all():
    ids = np.array([[[1, 1]], [[0, 0]], [[1, 1]], [[2, 0]]])
    assert stitched(ids).tolist() == [[[1, 1]], [[0, 0]], [[2, 2]], [[2, 0]]]
    assert not stitched(np.zeros((3, 4, 5), np.uint32)).any()
    assert stitched(np.array([[[0, 8, 3]]])).tolist() == [[[0, 2, 1]]]
