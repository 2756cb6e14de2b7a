import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from copick_tools.metrics.contingency import contingency
from copick_tools.metrics.partition import partition_numbers


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ids", [2, 6, 40])
def test_as_scikit_image(seed, ids):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 4, (5, 6, 7)).repeat(3, axis=2)
    prediction = rng.integers(0, ids, (5, 6, 21))
    split, merge = variation_of_information(reference, prediction, ignore_labels=(0,))
    error = adapted_rand_error(reference, prediction)[0]
    assert partition_numbers(contingency(reference, prediction)) == pytest.approx([split, merge, error], abs=1e-12)


def test_large_ids_and_parts_that_match():
    reference = np.repeat([0, 7, 70_000], 5)
    assert partition_numbers(contingency(reference, reference * 3)).tolist() == [0, 0, 0]


def test_a_network_in_two_pieces_is_a_split_and_two_in_one_a_merge():
    whole, pieces = np.ones(8, int), np.repeat([1, 2], 4)
    assert partition_numbers(contingency(whole, pieces))[:2].tolist() == [1, 0]
    assert partition_numbers(contingency(pieces, whole))[:2].tolist() == [0, 1]


def test_what_lies_outside_of_the_reference_is_not_looked_at():
    one = contingency(np.array([1, 1, 2, 2, 0, 0]), np.array([1, 1, 2, 2, 1, 9]))
    assert partition_numbers(one).tolist() == [0, 0, 0]


def test_undefined():
    assert np.isnan(partition_numbers(contingency(np.zeros(4, int), np.ones(4, int)))).all()
    alone = partition_numbers(contingency(np.arange(4), np.arange(4)))
    assert alone[:2].tolist() == [0, 0]
    assert np.isnan(alone[2])


def test_an_empty_prediction_merges_everything():
    split, merge, error = partition_numbers(contingency(np.array([1, 1, 2, 2]), np.zeros(4, int)))
    assert (split, merge) == (0, 1)
    assert error == pytest.approx(0.5)
