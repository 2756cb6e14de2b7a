"""Components become picks."""

import numpy as np
import pytest

from copick_tools.volumes.components import components
from copick_tools.volumes.particles import Filter, Particle, picks


def test_centers_are_weighted_and_scores_are_means():
    labels = np.array([[[1, 1, 0, 2]]], np.uint8)
    found = components(labels, np.array([[[0.9, 0.3, 0.7, 0.5]]]))
    np.testing.assert_allclose(found.centers, [[0, 0, 0.25], [0, 0, 3]])
    np.testing.assert_allclose(found.scores, [0.6, 0.5])


def test_small_components_go_and_the_best_come_first():
    labels = np.zeros((3, 3, 20), np.uint8)
    labels[:, :, 2:5] = labels[:, :, 8:11] = 1
    labels[1, 1, 18] = 1
    certainty = np.where(np.arange(20) < 6, 0.6, 0.8) * (labels > 0)
    kinds = [Particle("bead", 1, 18.6), Particle("rod", 2, 18.6)]
    found = picks(labels, certainty, kinds, 10.0, Filter(min_volume=0.5), origin=5.0)
    np.testing.assert_allclose(found["bead"].positions, [[95, 15, 15], [35, 15, 15]])
    np.testing.assert_allclose(found["bead"].scores, [0.8, 0.6])
    assert len(found["rod"]) == 0
    assert len(picks(labels, certainty, kinds, 10.0, Filter(0.5, min_score=0.7))["bead"]) == 1


def test_labels_alone_score_by_size():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2:7] = 1
    found = picks(labels, None, [Particle("bead", 1, 31.0)], 10.0, Filter())["bead"]
    assert found.scores[0] == pytest.approx(125 / 124.79, abs=0.01)


def test_shapes_have_to_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        components(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3)))
