import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.instance_oracle import numbers as oracle

from copick_tools.metrics.contingency import contingency
from copick_tools.metrics.instances import (
    NUMBERS,
    THRESHOLDS,
    InstanceMatch,
    accuracies,
    instance_numbers,
    inter_annotator,
    match_instances,
    partners,
)

VECTORS = Path(__file__).parents[1] / "data" / "instances"
EXPECTED = json.loads((VECTORS / "expected.json").read_text())
KEYS = {
    "mSA": "mean_segmentation_accuracy",
    "AP50": "ap50",
    "error_rate": "error_rate",
    "mean_matched_iou": "mean_matched_iou",
    "panoptic_quality": "panoptic_quality",
}
calm = settings(deadline=None, derandomize=True, max_examples=150)


def measured(reference, prediction):
    """As the oracle says it."""
    match = match_instances(contingency(np.asarray(reference), np.asarray(prediction)))
    counts = match.counts()
    found = dict(zip(NUMBERS, (None if np.isnan(value) else float(value) for value in instance_numbers(counts))))
    return {
        "n_true": match.n_reference,
        "n_pred": match.n_prediction,
        "tp": counts[:10].astype(int).tolist(),
        **{key: found[name] for key, name in KEYS.items()},
    }


def same(one, other):
    exact = {key: one[key] for key in ("n_true", "n_pred", "tp")}
    assert exact == {key: other[key] for key in exact}
    for key in KEYS:
        assert (one[key] is None) == (other[key] is None), key
        assert one[key] is None or one[key] == pytest.approx(other[key], abs=1e-12), key


def test_thresholds_are_literal():
    assert list(THRESHOLDS) == EXPECTED["thresholds"]


@pytest.mark.parametrize("name", EXPECTED["vectors"])
def test_vectors(name):
    with np.load(VECTORS / f"{name}.npz") as arrays:
        same(measured(arrays["y_true"], arrays["y_pred"]), EXPECTED["vectors"][name])


@pytest.mark.parametrize("name", EXPECTED["vectors"])
def test_the_oracle_agrees_with_the_vectors(name):
    with np.load(VECTORS / f"{name}.npz") as arrays:
        same(oracle(arrays["y_true"], arrays["y_pred"]), EXPECTED["vectors"][name])


rows = st.lists(st.integers(0, 3), min_size=1, max_size=14)


@calm
@given(st.data(), rows)
def test_small_rows_with_all_their_ties(data, row):
    other = data.draw(st.lists(st.integers(0, 3), min_size=len(row), max_size=len(row)))
    same(measured(row, other), oracle(row, other))


def blobs(seed, shape):
    """Boxes over boxes, and the same moved, cut and renamed a little."""
    rng = np.random.default_rng(seed)
    reference = np.zeros(shape, np.int32)
    for number in range(1, 9):
        low = [int(rng.integers(0, n)) for n in shape]
        reference[tuple(slice(a, a + int(rng.integers(1, 6))) for a in low)] = number
    prediction = np.roll(reference, int(rng.integers(0, 2)), axis=int(rng.integers(0, len(shape))))
    prediction[..., int(rng.integers(0, shape[-1])) :] *= int(rng.integers(0, 2))
    ids = np.concatenate([[0], rng.permutation(70_000)[:8] + 1])
    return reference, ids[prediction]


@pytest.mark.parametrize("shape", [(14, 17), (7, 9, 11), (1, 14, 17), (30,)])
@pytest.mark.parametrize("seed", range(6))
def test_shifted_boxes(seed, shape):
    same(measured(*blobs(seed, shape)), oracle(*blobs(seed, shape)))


@pytest.mark.parametrize("seed", range(4))
def test_ids_mean_nothing(seed):
    reference, prediction = blobs(seed, (8, 9, 10))
    rng = np.random.default_rng(seed)
    names = [np.concatenate([[0], rng.permutation(200_000)[:99_999] + 2**33]) for _ in "ab"]
    small = np.unique(prediction, return_inverse=True)[1].reshape(prediction.shape)
    same(measured(names[0][reference], names[1][small]), measured(reference, prediction))


def test_sides_swap():
    reference, prediction = blobs(3, (9, 9, 9))
    one, other = measured(reference, prediction), measured(prediction, reference)
    assert one["tp"] == other["tp"]
    assert one["mSA"] == other["mSA"]
    assert (one["n_true"], one["n_pred"]) == (other["n_pred"], other["n_true"])


class TestTies:
    """IoU of exactly 0.5: halves of an object, on either side."""

    def test_one_half_counts(self):
        whole, halves = np.repeat([1], 8), np.repeat([4, 2], 4)
        for reference, prediction in ((whole, halves), (halves, whole)):
            found = match_instances(contingency(reference, prediction))
            assert found.iou.tolist() == [0.5]
            assert found.counts()[:10].tolist() == [1] + [0] * 9
        assert match_instances(contingency(whole, halves)).pairs.tolist() == [[1, 2]]

    def test_the_better_one_wins(self):
        reference = np.repeat([1, 0], [9, 1])
        found = match_instances(contingency(reference, np.array([7] * 4 + [3] * 5 + [0])))
        assert found.pairs.tolist() == [[1, 3]]

    def test_chains_of_halves(self):
        reference = np.repeat([1, 2, 3], [4, 2, 2])
        prediction = np.repeat([1, 2, 3], [2, 2, 4])  # 1 in halves; 2 and 3 are halves of one
        assert measured(reference, prediction)["tp"][0] == 2
        same(measured(reference, prediction), oracle(reference, prediction))

    @pytest.mark.parametrize("hundredths", range(50, 100, 5))
    def test_every_threshold_is_reached_exactly(self, hundredths):
        reference = np.ones(100, int)
        prediction = np.r_[np.ones(hundredths, int), np.zeros(100 - hundredths, int)]
        reached = measured(reference, prediction)["tp"]
        assert reached == [1] * ((hundredths - 50) // 5 + 1) + [0] * (10 - (hundredths - 50) // 5 - 1)

    def test_a_voxel_less_is_not_enough(self):
        reference = np.ones(1_000_000, np.uint8)
        prediction = np.r_[np.ones(599_999, np.uint8), np.zeros(400_001, np.uint8)]
        assert sum(measured(reference, prediction)["tp"]) == 2


class TestEdges:
    @pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6), (0, 4, 4)])
    def test_both_empty(self, shape):
        found = measured(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
        assert found == {"n_true": 0, "n_pred": 0, "tp": [0] * 10, **dict.fromkeys(KEYS)}

    def test_no_reference(self):
        found = measured(np.zeros(4, int), np.array([1, 1, 0, 2]))
        assert found["error_rate"] is None
        assert [found[key] for key in KEYS if key != "error_rate"] == [0, 0, 0, 0]

    def test_no_prediction(self):
        found = measured(np.array([1, 1, 0, 2]), np.zeros(4, int))
        assert [found[key] for key in KEYS] == [0, 0, 1, 0, 0]

    def test_no_background(self):
        volume = np.repeat([5, 9, 70_000], 4).reshape(3, 2, 2)
        found = measured(volume, volume)
        assert (found["n_true"], found["n_pred"]) == (3, 3)
        assert [found[key] for key in KEYS] == [1, 1, 0, 1, 1]

    def test_one_voxel(self):
        volume = np.zeros((3, 3, 3), np.uint8)
        volume[1, 1, 1] = 200
        assert [measured(volume, volume)[key] for key in KEYS] == [1, 1, 0, 1, 1]

    def test_70_000_objects(self):
        reference = np.arange(1, 70_001, dtype=np.uint32).repeat(4)
        found = measured(reference, np.roll(reference, 1))  # each shares 3 of 5 voxels
        assert found["tp"] == [70_000] * 3 + [0] * 7
        assert found["mSA"] == pytest.approx(0.3)
        assert found["mean_matched_iou"] == pytest.approx(0.6)


class TestNumbers:
    def test_of_many_at_once(self):
        counts = np.array([[[2.0] * 10 + [2, 3, 1.8], [0.0] * 13], [[0.0] * 10 + [0, 4, 0], [1.0] * 10 + [1, 1, 1.0]]])
        found = instance_numbers(counts)
        assert found.shape == (2, 2, len(NUMBERS))
        assert found[0, 0] == pytest.approx([2 / 3, 2 / 3, 0.5, 0.9, 0.72, 0.8])
        assert np.isnan(found[0, 1]).all()
        assert np.isnan(found[1, 0, 2])
        assert found[1, 0, [0, 1, 3, 4, 5]].tolist() == [0] * 5
        assert found[1, 1].tolist() == [1, 1, 0, 1, 1, 1]

    def test_quality_is_segmentation_times_recognition(self):
        match = match_instances(contingency(*blobs(1, (8, 9, 10))))
        found = dict(zip(NUMBERS, instance_numbers(match.counts())))
        assert found["panoptic_quality"] == pytest.approx(found["mean_matched_iou"] * found["recognition_quality"])

    def test_the_mean_over_thresholds_is_the_accuracy(self):
        counts = match_instances(contingency(*blobs(2, (8, 9, 10)))).counts()
        assert accuracies(counts).mean() == pytest.approx(instance_numbers(counts)[0])

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="13 counts on the last axis"):
            instance_numbers(np.zeros((2, 12)))


class TestAnnotators:
    def test_the_same_whichever_is_the_reference(self):
        one = np.array([3.0] * 10 + [4, 6, 2.5])
        other = np.array([3.0] * 10 + [6, 4, 2.5])
        assert inter_annotator(one) == inter_annotator(other) == pytest.approx(0.8)
        rates = [instance_numbers(side)[2] for side in (one, other)]
        assert inter_annotator(one) == pytest.approx(2 / sum(1 / rate for rate in rates))

    def test_ends(self):
        assert inter_annotator(np.array([0.0] * 10 + [0, 3, 0])) == 2
        assert inter_annotator(np.array([3.0] * 10 + [3, 3, 3])) == 0
        assert np.isnan(inter_annotator(np.zeros(13)))

    def test_partners(self):
        match = InstanceMatch(np.array([[3, 1], [70_000, 2]]), np.ones(2), 2, 2)
        one, other = np.array([[3, 3, 70_000, 0, 1]]), np.array([[1, 2, 2, 0, 1]])
        assert partners(match, one, other).tolist() == [[True, False, True, False, False]]
        assert not partners(InstanceMatch(np.zeros((0, 2), int), np.zeros(0), 1, 1), one, other).any()
