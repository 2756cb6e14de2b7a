"""From candidates to picks: calibrated, filtered, numbered, and in angstrom."""

import dataclasses

import numpy as np
import pytest

from copick_tools.recipes.picking import Grid, ball_voxels, chosen, extractions, points, volume_fractions
from copick_tools.recipes.recipe import WAY, Pick
from copick_tools.recipes.thresholds import Isotonic, ObjectSetting, Temperature
from copick_tools.volumes.extraction import Extraction, Found, Particle

SPACING = 10.0
BALL = Particle("ribosome", 1, 120.0, 60.0)  # its ball has 6 voxels of radius
UNKNOWN = Particle("cell", 2, 120.0)


def found(scores, volumes=None, expected=100.0):
    count = len(scores)
    centers = np.arange(3.0 * count).reshape(count, 3)
    sizes = np.full(count, 100) if volumes is None else np.asarray(volumes)
    return Found(centers, np.asarray(scores, dtype=float), sizes, expected, np.arange(count))


def kept(candidates, setting, particle=UNKNOWN):
    return chosen({particle.name: candidates}, [particle], {particle.name: setting}, SPACING)[particle.name]


def test_volumes_are_fractions_of_the_ball_else_of_what_the_data_say():
    whole = ball_voxels(60.0, SPACING)
    assert whole == pytest.approx(4 / 3 * np.pi * 6**3)
    candidates = found([0.9, 0.5], [50, 200])
    np.testing.assert_allclose(volume_fractions(candidates, UNKNOWN, SPACING), [0.5, 2.0])
    np.testing.assert_allclose(volume_fractions(candidates, BALL, SPACING), np.array([50, 200]) / whole)


def test_extractions_take_what_finds_candidates():
    settings = {"a": Pick(method="peaks", threshold=0.3, merge=0.1, smoothing=0.5, bandwidth=70), "b": Pick()}
    made = extractions(settings)
    assert (made["a"].method, made["a"].threshold, made["a"].merge, made["a"].smoothing) == ("peaks", 0.3, 0.1, 0.5)
    assert made["a"].bandwidth == 70
    assert (made["b"].method, made["b"].bandwidth) == ("components", None)


def test_fields_that_make_candidates_are_those_of_an_extraction():
    """What else a recipe says of picks leaves scores as they are, so learned thresholds go with it."""
    assert {field.name for field in dataclasses.fields(Extraction)} == set(WAY) <= set(Pick.model_fields)


class TestChosen:
    def test_bounds_are_inclusive(self):
        candidates = found([0.9, 0.8, 0.7, 0.6], [100, 50, 200, 49])
        setting = Pick(min_score=0.7, min_volume=0.5, max_volume=2.0)
        assert kept(candidates, setting).scores.tolist() == [0.9, 0.8, 0.7]
        assert kept(candidates, setting.model_copy(update={"max_volume": 1.9})).scores.tolist() == [0.9, 0.8]
        assert kept(candidates, Pick(min_volume=0.0, max_volume=None)).scores.tolist() == candidates.scores.tolist()

    @pytest.mark.parametrize(
        "calibration",
        [Temperature(temperature=0.5, bias=-1.0), Isotonic(scores=(0, 0.5, 1), probabilities=(0, 0.1, 0.8))],
    )
    def test_least_score_is_of_the_calibrated_one(self, calibration):
        raw = np.array([0.95, 0.8, 0.6, 0.3])
        calibrated = calibration.apply(raw)
        setting = ObjectSetting(calibration=calibration, min_score=float(calibrated[1]))
        picks = kept(found(raw), setting)
        np.testing.assert_allclose(picks.scores, calibrated[:2])
        np.testing.assert_array_equal(picks.centers, found(raw).centers[:2])
        np.testing.assert_array_equal(picks.seeds, [0, 1])

    def test_each_object_by_its_own(self):
        candidates = {"ribosome": found([0.9, 0.5], [900, 900]), "cell": found([0.9, 0.5])}
        settings = {"ribosome": Pick(min_score=0.8), "cell": Pick(min_score=0.1)}
        picks = chosen(candidates, [BALL, UNKNOWN], settings, SPACING)
        assert {name: len(each) for name, each in picks.items()} == {"ribosome": 1, "cell": 2}

    def test_nothing(self):
        setting = ObjectSetting(calibration=Temperature(temperature=0.5, bias=-1.0), min_score=0.5)
        assert len(kept(found([]), setting)) == 0


class TestPoints:
    def test_angstrom(self):
        picks = points(found([0.9, 0.5], [2, 3]), Grid((9, 9, 9), 10.0, origin=-5.0))
        np.testing.assert_array_equal(picks.positions, [[15, 5, -5], [45, 35, 25]])  # x y z
        np.testing.assert_array_equal(picks.scores, [0.9, 0.5])
        np.testing.assert_array_equal(picks.volumes, [2000, 3000])
        assert not picks.trust_orientation
        assert picks.instance_ids is None

    def test_numbers_count_from_one(self):
        candidates, grid = found([0.9, 0.5]), Grid((9, 9, 9), 10.0)
        assert points(candidates, grid, numbered=True).instance_ids.tolist() == [1, 2]
        assert points(candidates, grid).instance_ids is None
