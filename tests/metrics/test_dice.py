import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.metrics.dice import dice, iou, overlap_counts

quick = settings(deadline=None, derandomize=True, max_examples=60)
DTYPES = ("uint8", "int8", "bool", "uint16", "int32", "int64", "float32")


def volumes(seed, dtype="uint8", values=5, shape=(4, 5, 6)):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2 if dtype == "bool" else values, shape).astype(dtype) for _ in range(2)]


def naive(reference, prediction, labels, mask=None):
    rows = []
    for label in labels:
        both = one = other = 0
        for index in np.ndindex(reference.shape):
            if mask is None or mask[index]:
                both += reference[index] == label and prediction[index] == label
                one += reference[index] == label
                other += prediction[index] == label
        rows.append([both, one, other])
    return np.array(rows)


@quick
@given(
    st.integers(0, 10**6), st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.permutations([0, 1, 2, 3, 4, 9, 300])
)
def test_counts_equal_a_naive_count(seed, one, other, labels):
    reference, prediction = volumes(seed, one)[0], volumes(seed, other)[1]
    mask = np.random.default_rng(seed).random(reference.shape) < 0.7
    wanted = np.array(labels[:4])
    assert (overlap_counts(reference, prediction, wanted) == naive(reference, prediction, wanted)).all()
    assert (overlap_counts(reference, prediction, wanted, mask) == naive(reference, prediction, wanted, mask)).all()


@quick
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(DTYPES))
def test_slabs_add_up(seed, depth, dtype):
    reference, prediction = volumes(seed, dtype)
    labels = np.array([3, 1, 2])
    parts = sum(overlap_counts(reference[z : z + depth], prediction[z : z + depth], labels) for z in range(0, 4, depth))
    assert (parts == overlap_counts(reference, prediction, labels)).all()


@quick
@given(st.integers(0, 10**6), st.permutations([0, 1, 2, 3, 4]))
def test_identity_symmetry_and_names_of_labels(seed, names):
    reference, prediction = volumes(seed)
    labels = np.arange(5)
    counts = overlap_counts(reference, prediction, labels)
    assert (dice(overlap_counts(reference, reference, labels)) == 1).all()
    assert (iou(overlap_counts(reference, reference, labels)) == 1).all()
    assert (overlap_counts(prediction, reference, labels) == counts[:, [0, 2, 1]]).all()
    renamed = np.array(names, dtype=np.uint8)
    assert (overlap_counts(renamed[reference], renamed[prediction], renamed) == counts).all()
    d, i = dice(counts), iou(counts)
    assert i == pytest.approx(d / (2 - d))


def test_values_beyond_the_labels():
    reference, prediction = np.array([255, 1, 1, 7, -3]), np.array([1, 255, 1, 7, -3])
    assert overlap_counts(reference, prediction, np.array([1])).tolist() == [[1, 2, 2]]
    assert overlap_counts(reference, prediction, np.array([1]), reference != 255).tolist() == [[1, 2, 1]]
    assert overlap_counts(reference, prediction, np.array([-3, 255])).tolist() == [[1, 1, 1], [0, 1, 1]]
    small = np.array([-1, -3], dtype=np.int8)
    assert overlap_counts(small, small, np.array([-3, 255])).tolist() == [[1, 1, 1], [0, 0, 0]]


def test_nothing_to_count():
    nothing = np.zeros((0, 3, 3), np.uint8)
    assert overlap_counts(nothing, nothing, np.array([1, 2])).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert overlap_counts(np.ones(3, int), np.ones(3, int), np.array([], int)).shape == (0, 3)


def test_absent_objects():
    assert np.isnan(dice(np.array([0, 0, 0])))
    assert np.isnan(iou(np.array([0, 0, 0])))
    assert dice(np.array([0, 0, 4])) == 0
    assert iou(np.array([0, 4, 0])) == 0


@pytest.mark.parametrize(
    ("reference", "labels", "mask"),
    [
        (np.zeros(4, int), [1], None),
        (np.zeros(3, int), [1, 1], None),
        (np.zeros(3, int), [[1]], None),
        (np.zeros(3, int), [1], np.ones(4, bool)),
        (np.zeros(3, int), [1], np.ones(3, int)),
    ],
)
def test_wrong_arguments(reference, labels, mask):
    with pytest.raises(ValueError, match="differ in shape|Expected argument `(labels|mask)`"):
        overlap_counts(reference, np.zeros(3, int), np.array(labels), mask)


def test_memory_beyond_the_arrays_is_small():
    reference, prediction = volumes(0, shape=(16, 256, 256))
    for dtype in ("uint8", "int32"):
        one, other = reference.astype(dtype)[:, ::2], prediction.astype(dtype)[:, ::2]
        tracemalloc.start()
        overlap_counts(one, other, np.arange(1, 8), one != 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - one.size < 8e6  # the mask is counted, for it is made here
