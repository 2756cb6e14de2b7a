import importlib
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from copick_tools.metrics.contingency import (
    added,
    contingency,
    labels_of,
    object_key,
    of_object,
    panoptic_contingency,
)

DTYPES = (np.uint8, np.int16, np.uint32, np.int64, np.uint64)
calm = settings(deadline=None, derandomize=True, max_examples=60)


def pairs(table):
    """(id, id) -> voxels."""
    return dict(zip(zip(table.reference.tolist(), table.prediction.tolist()), table.voxels.tolist()))


def counted(reference, prediction):
    return dict(Counter(zip(reference.ravel().tolist(), prediction.ravel().tolist())))


@st.composite
def volumes(draw, count=2):
    """Volumes of one shape, any ids that their dtypes hold."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6))
    found = []
    for _ in range(count):
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        top = min(np.iinfo(dtype).max, np.iinfo(np.int64).max)
        ids = draw(st.lists(st.integers(0, int(top)), min_size=1, max_size=4))
        found.append(draw(arrays.arrays(dtype, shape, elements=st.sampled_from([0, *ids]))))
    return found


@calm
@given(volumes())
def test_every_pair_is_counted_once(both):
    table = contingency(*both)
    assert pairs(table) == counted(*both)
    assert len(pairs(table)) == len(table.voxels)
    order = np.lexsort((table.prediction, table.reference))
    assert (order == np.arange(len(order))).all()


@calm
@given(volumes(), st.integers(1, 5), st.randoms())
def test_parts_add_up_in_any_order(both, size, random):
    flat = [volume.ravel() for volume in both]
    parts = [contingency(*(v[i : i + size] for v in flat)) for i in range(0, len(flat[0]), size)]
    random.shuffle(parts)
    assert pairs(added(parts)) == counted(*both)


def test_pieces_and_joining_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 50, (2, 7, 11, 13)), rng.integers(0, 50, (2, 7, 11, 13))
    module = importlib.import_module("copick_tools.metrics.contingency")
    monkeypatch.setattr(module, "PIECE", 17)
    monkeypatch.setattr(module, "MANY", 3)
    assert pairs(contingency(one, other)) == counted(one, other)


def test_volumes_that_are_not_contiguous():
    one = np.arange(24).reshape(2, 3, 4)
    assert pairs(contingency(one[:, ::2, 1:], one[::-1, ::2, 1:])) == counted(one[:, ::2, 1:], one[::-1, ::2, 1:])


def test_a_mask_leaves_voxels_out():
    one, other = np.array([1, 1, 1, 2]), np.array([1, 1, 1, 2])
    assert pairs(contingency(one, other, np.array([True, False, True, False]))) == {(1, 1): 2}
    assert pairs(contingency(one, other, np.zeros(4, bool))) == {}


def test_overlap_is_that_of_all_objects():
    table = contingency(np.array([3, 3, 0, 0, 9]), np.array([0, 4, 4, 0, 1]))
    assert table.overlap().tolist() == [2, 3, 3]


@calm
@given(volumes(4))
def test_a_panoptic_table_says_of_each_label_what_a_volume_of_it_would(four):
    labels = [volume % 3 for volume in four[:2]]
    ids = [np.where(label > 0, volume % 5, 0) for label, volume in zip(labels, four[2:])]
    table = panoptic_contingency(*zip(labels, ids))
    for label in (1, 2, 7):
        found, voxels = of_object(table, label)
        inside = [side == label for side in labels]
        plain = counted(*(np.where(on, side, 0) for on, side in zip(inside, ids)))
        plain.pop((0, 0), None)
        assert {pair: n for pair, n in pairs(found).items() if pair != (0, 0)} == plain
        assert voxels.tolist() == [int(v.sum()) for v in (inside[0] & inside[1], *inside)]
    for side, there in zip(labels_of(table), labels):
        assert side.tolist() == np.setdiff1d(there, 0).tolist()


def test_ids_without_a_label_have_label_0():
    table = panoptic_contingency((np.array([0, 2]), np.array([4, 1])), (np.array([0, 0]), np.array([0, 0])))
    assert [labels.tolist() for labels in labels_of(table)] == [[0, 2], []]


def test_keys_of_labels_and_ids_differ():
    labels, ids = np.array([0, 1, 1, 2, 2, 255], np.uint8), np.array([0, 0, 70000, 0, 70000, 2**31 - 1], np.uint32)
    assert len(np.unique(object_key(labels, ids))) == 6
    with pytest.raises(ValueError, match=r"below 2\*\*31, but got 2147483648"):
        object_key(labels, ids.astype(np.int64) + 1)
    with pytest.raises(ValueError, match="from 0 up and below .* but got -1"):
        object_key(labels, ids.astype(np.int64) - 1)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (np.zeros(3, int), np.zeros(4, int), r"one shape, but got \(3,\) and \(4,\)"),
        (np.zeros(3), np.zeros(3, int), "to be integers, but got float64"),
        (np.array([0, -1]), np.zeros(2, int), "from 0 up, but got -1"),
        (np.array([2**63], np.uint64), np.zeros(1, int), r"below 2\*\*63"),
    ],
)
def test_what_are_no_ids(one, other, words):
    with pytest.raises(ValueError, match=words):
        contingency(one, other)


def test_a_mask_that_fits_nothing():
    with pytest.raises(ValueError, match="`mask` to be bool"):
        contingency(np.zeros(3, int), np.zeros(3, int), np.zeros(3, np.uint8))


def test_120_000_objects_take_little_memory():
    side = 50  # a matrix of them would take 115 GB
    one = np.arange(1, side**3 + 1, dtype=np.uint32).reshape(side, side, side).repeat(2, axis=2)
    tracemalloc.start()
    table = contingency(one, np.roll(one, 1, axis=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table.voxels) == 2 * side**3
    assert peak < 60 * 2**20
