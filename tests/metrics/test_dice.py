import numpy as np
import pytest

from copick_tools.metrics.dice import dice, overlap_counts


def test_slabs_add_up_and_absent_labels_are_undefined():
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 3, (2, 6, 7, 8))
    labels = np.array([1, 2, 3])
    whole = overlap_counts(reference, prediction, labels)
    parts = sum(overlap_counts(reference[z : z + 2], prediction[z : z + 2], labels) for z in (0, 2, 4))
    np.testing.assert_array_equal(whole, parts)
    scores = dice(whole)
    one = (reference == 1), (prediction == 1)
    assert scores[0] == pytest.approx(2 * (one[0] & one[1]).sum() / (one[0].sum() + one[1].sum()))
    assert np.isnan(scores[2])


def test_masked_voxels_do_not_count():
    reference, prediction = np.array([1, 1, 0]), np.array([1, 0, 1])
    assert dice(overlap_counts(reference, prediction, np.array([1]), np.array([True, False, False]))) == [1]


def test_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        overlap_counts(np.zeros(3), np.zeros(4), np.array([1]))
