"""Planted merges and fragments are looked at first; what a face cuts isn't blamed for it."""

import numpy as np
import pytest

from copick_tools.volumes.semantic_instances import Way, convert
from copick_tools.volumes.shapes import measured
from copick_tools.volumes.suspicion import suspicion


def judged(volumes, compactness=None, cut=None):
    volumes = np.asarray(volumes, float)
    shape = np.ones(len(volumes)) if compactness is None else np.asarray(compactness, float)
    return suspicion(volumes, shape, np.zeros(len(volumes), bool) if cut is None else np.asarray(cut, bool))


@pytest.mark.parametrize("seed", range(4))
def test_planted_merges_and_fragments_rank_first(seed):
    """Sixty balls of radius 5 to 6, of which two pairs are fused and one is cut down, as components."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((80, 96, 112), bool)
    grid = np.indices(labels.shape)
    cells = [(z, y, x) for z in range(10, 80, 20) for y in range(10, 90, 20) for x in range(10, 110, 20)]
    for cell in cells:
        labels |= sum((axis - c) ** 2 for axis, c in zip(grid, cell)) <= rng.uniform(5, 6) ** 2
    for z, y, x in (cells[5], cells[40]):  # fused with the next one along x
        labels[z - 2 : z + 3, y - 2 : y + 3, x : x + 20] = True
    z, y, x = cells[22]
    labels[z - 7 : z + 8, y - 7 : y + 8, x - 1 : x + 8] = False  # less than half of it stays
    found = convert(labels, {1: Way("components", 26, (0, np.inf))})
    shapes = measured(found)
    result = suspicion(shapes.voxels.astype(float), shapes.compactness, shapes.at_border)
    first = np.argsort(-result.scores)[:3]
    ids = found[:, :, :]
    planted = {ids[cells[5]], ids[cells[40]], ids[z, y, x - 4]}
    assert set(shapes.ids[first].tolist()) == planted
    assert result.scores[first].min() > 0.5
    assert np.sort(result.scores)[-4] < 0.6
    assert set(result.reasons[first].tolist()) <= {"large", "small", "shape"}


def test_reasons():
    found = judged([100, 101, 99, 100, 300, 30, 100], [1, 1, 1, 1, 1, 1, 0.4])
    assert found.reasons.tolist() == ["none", "none", "none", "none", "large", "small", "shape"]
    assert found.scores[:4].max() < 0.1
    assert ((found.scores >= 0) & (found.scores < 1)).all()


def test_equal_ones_are_not_suspicious():
    assert judged([7.0] * 9).scores.tolist() == [0.0] * 9
    assert judged([100, 103, 98, 100, 101]).scores.max() < 0.25  # a few percent are nothing


def test_unit_does_not_matter():
    volumes = np.random.default_rng(0).lognormal(3, 1, 50)
    np.testing.assert_allclose(judged(volumes).scores, judged(volumes * 1000).scores)


def test_what_a_face_cuts_is_excused_for_being_small_or_odd():
    whole = [100, 101, 99, 102, 98]
    found = judged([*whole, 20, 400], [1] * 5 + [0.4, 0.4], [False] * 5 + [True] * 2)
    assert found.scores[5] == 0
    assert found.scores[6] > 0.5
    assert found.reasons[5:].tolist() == ["none", "large"]
    assert found.usual.tolist() == [True] * 5 + [False] * 2


def test_where_hardly_any_is_whole_all_are_compared():
    found = judged([100, 101, 99, 102, 20], cut=[True, True, True, False, True])
    assert found.usual.all()
    assert found.scores[4] > 0.5


def test_few_or_none():
    assert judged([]).scores.shape == (0,)
    assert judged([5.0]).scores.tolist() == [0]
    assert judged([5.0, 5.0, 50.0]).scores[2] > 0.5
