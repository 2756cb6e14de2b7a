"""Patches are balanced, repeatable, and turned together with their targets."""

import numpy as np
import pytest

from copick_tools.errors import PopsicleError
from copick_tools.recipes.load import load_recipe, load_task
from copick_tools.recipes.recipe import Augment, Target
from copick_tools.training import targets
from copick_tools.training.augment import augment
from copick_tools.training.layouts import CLASSES, HEATMAPS
from copick_tools.training.patches import Patches, TrainingRun
from copick_tools.training.targets import IGNORED, painted, stored
from copick_tools.types import Points
from copick_tools.volumes.coordinates import to_angstrom


@pytest.fixture
def recipe(recipe_path):
    return load_recipe(recipe_path, ("train.patch=[8,8,8]", "train.background=0"))


@pytest.fixture
def objects(recipe):
    return load_task(recipe.task).targets


SPHERES = Target()


def run(points, objects, shape=(20, 30, 40), target=SPHERES, region=None):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return TrainingRun("r", volume, None, painted(points, objects, target, (10.0, 0.0), region))


def test_patches_repeat_and_differ(recipe, objects):
    patches = Patches([run({"ribosome": Points.at([[200, 150, 100]])}, objects)], 3, recipe)
    again = Patches([run({"ribosome": Points.at([[200, 150, 100]])}, objects)], 3, recipe)
    for index in (0, 1, 17):
        for one, other in zip(patches[index], again[index]):
            assert (one == other).all()
    assert not (patches[0][0] == patches[1][0]).all()
    assert len(patches) == 4 * 5 * 2


def test_rare_objects_get_as_many_patches(recipe, objects):
    many = Points.at(np.random.default_rng(1).uniform(0, 200, (50, 3)))
    one = Points.at([[390, 290, 190]])
    patches = Patches([run({"ribosome": many, "apo-ferritin": one}, objects)], 3, recipe)
    shares = np.mean([(patches[index][1] == 2).any() for index in range(40)])
    assert 0.25 < shares < 0.75


def test_a_negative_run_is_all_background(recipe, objects):
    patches = Patches([run({}, objects)], 3, recipe)
    assert not any(patches[index][1].any() for index in range(10))


def test_thin_tomograms_are_reflected_and_ignored(recipe, objects):
    voxels, target = run({"ribosome": Points.at([[100, 100, 20]])}, objects, shape=(5, 30, 30)).patch(
        (0, 4, 4), (8, 8, 8)
    )
    assert voxels.shape == target.shape == (8, 8, 8)
    assert (target[5:] == IGNORED).all()
    assert (target[:5] != IGNORED).all()


def test_outside_the_region_nothing_is_known(objects):
    region = np.zeros((20, 30, 40), bool)
    region[:, :, :20] = True
    points = {"ribosome": Points.at([[200, 150, 100]])}
    hard = run(points, objects, region=region).target.crop((0, 0, 15), (20, 30, 10))
    assert (hard[..., 5:] == IGNORED).all()
    assert set(np.unique(hard[..., :5])) == {0, 1}
    soft = run(points, objects, target=Target(kind="gaussian"), region=region).target.crop((0, 0, 15), (20, 30, 10))
    assert soft.shape == (2, 20, 30, 10)
    assert (soft[..., 5:] == -1).all()


def test_patches_lie_where_something_is_annotated(recipe, objects):
    region = np.zeros((20, 30, 40), bool)
    region[5:9, 3:6, 30:33] = True
    everywhere = recipe.model_copy(update={"train": recipe.train.model_copy(update={"background": 1.0})})
    empty = np.zeros((20, 30, 40), bool)
    runs = [run({}, objects, region=region), run({}, objects, region=empty)]
    patches = Patches(runs, 3, everywhere)
    for index in range(30):
        assert (patches[index][1] != IGNORED).any()
    with pytest.raises(PopsicleError, match="nothing is annotated in the training runs: r"):
        Patches(runs[1:], 3, everywhere)


def test_labels_to_ignore_are_no_place_for_patches(recipe, objects):
    labels = np.full((20, 30, 40), 77, np.uint8)
    labels[2:6, 20:24, 4:9] = 0
    source = stored(labels, objects, Target(kind="segmentation", ignore_label=77))
    places = source.annotated()
    assert len(places) == 4 * 4 * 5
    assert (labels[tuple(places.T)] == 0).all()
    assert stored(np.zeros_like(labels), objects, Target(kind="segmentation")).annotated() is None


def test_a_spread_is_even_and_bounded(monkeypatch):
    monkeypatch.setattr(targets, "ANCHORS", 100)
    known = np.zeros((10, 20, 20), bool)
    known[1:9] = True
    places = targets.spread(known)
    assert 90 <= len(places) <= 100
    assert known[tuple(places.T)].all()
    assert len(set(map(tuple, places.tolist()))) == len(places)
    assert set(places[:, 0]) == set(range(1, 9))
    assert len(targets.spread(np.zeros((2, 2, 2), bool))) == 0


def test_stored_targets_map_labels_to_channels(objects):
    labels = np.zeros((20, 8, 8), np.uint8)
    labels[18, 1, 1], labels[3, 2, 2], labels[4, 4, 4] = 1, 2, 77
    source = stored(labels, objects, Target(kind="segmentation", ignore_label=77))
    assert source.crop((4, 4, 4), (1, 1, 1)).ravel().tolist() == [IGNORED]
    assert source.anchors(1).tolist() == [[18, 1, 1]]
    assert source.anchors(2).tolist() == [[3, 2, 2]]


@pytest.mark.parametrize("soft", [False, True])
def test_target_turns_with_the_voxels(soft):
    rng = np.random.default_rng(3)
    target = rng.integers(0, 3, (6, 8, 8)).astype(np.uint8)
    voxels = target.astype(np.float32)
    turned = target[None].astype(np.float32) if soft else target
    for _ in range(20):
        moved, wanted = augment(voxels, turned, Augment(intensity=0), rng, HEATMAPS if soft else CLASSES)
        np.testing.assert_array_equal(moved, wanted[0] if soft else wanted)
        np.testing.assert_array_equal(np.sort(moved.sum((1, 2))), np.sort(voxels.sum((1, 2))))  # z stays z


def test_a_free_turn_ignores_what_comes_from_outside():
    settings = Augment(flip_z=0, flip_yx=0, quarter_turn=0, turn=1, intensity=0)
    target = np.ones((2, 16, 16), np.uint8)
    voxels = to_angstrom(np.zeros((1, 3)), 1.0).sum() + np.ones((2, 16, 16), np.float32)
    moved, wanted = augment(voxels, target, settings, np.random.default_rng(0))
    assert set(np.unique(wanted)) <= {1, IGNORED}
    np.testing.assert_allclose(moved, 1, atol=1e-5)
