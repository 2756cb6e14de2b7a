"""Whole scenes of organelles: reproducible, and a truth that is what is in the ice."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from copick_tools.errors import UsageError
from copick_tools.simulate.organelles import ORGANELLE_PRESETS, OrganelleSettings, simulate_organelles
from copick_tools.simulate.organelles.scene import OBJECTS

LABELS = {name: label for label, name in enumerate(OBJECTS, 1)}
SHAPE = (48, 160, 160)
SMALL, MIDDLE = (24, 64, 64), (32, 96, 96)
HARD = ORGANELLE_PRESETS["hard"]
NEIGHBORS = np.ones((3, 3, 3))


def organelles(settings=HARD, seed=0, shape=SMALL, labels=LABELS, voxel_spacing=20.0):
    return simulate_organelles(shape, voxel_spacing, labels, settings, seed)


@pytest.fixture(scope="module", params=[0, 1])
def cell(request):
    """As large as the task's, with a bacterium."""
    return organelles(replace(HARD, bacterium=1), request.param, SHAPE)


def instances_of(cell, name):
    """bool zyx of each instance."""
    ids = np.where(cell.segmentation == LABELS[name], cell.instances, 0)
    return [ids == number for number in range(1, ids.max() + 1)]


def pieces(mask):
    return ndimage.label(mask, NEIGHBORS)[1]


def test_same_seed_same_bytes():
    first, second, other = organelles(), organelles(), organelles(seed=1)
    for name in ("tomogram", "segmentation", "instances"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


def test_imaging_does_not_move_organelles():
    first, second = organelles(), organelles(replace(HARD, dose=5, defocus=30_000))
    assert not np.array_equal(first.tomogram, second.tomogram)
    assert np.array_equal(first.instances, second.instances)


def test_what_has_no_label_is_imaged_all_the_same():
    every, few = organelles(shape=MIDDLE), organelles(shape=MIDDLE, labels={"vesicle": 7})
    assert np.array_equal(every.tomogram, few.tomogram)
    assert np.array_equal(few.segmentation == 7, every.segmentation == LABELS["vesicle"])
    assert set(np.unique(few.segmentation)) == {0, 7}


def test_volumes_agree(cell):
    assert cell.tomogram.shape == cell.segmentation.shape == cell.instances.shape == SHAPE
    dtypes = [volume.dtype for volume in (cell.tomogram, cell.segmentation, cell.instances)]
    assert dtypes == [np.float32, np.uint8, np.uint16]
    assert np.isfinite(cell.tomogram).all()
    assert np.array_equal(cell.segmentation > 0, cell.instances > 0)


def test_every_kind_is_there_with_ids_from_one(cell):
    for name in OBJECTS:
        masks = instances_of(cell, name)
        assert masks
        assert all(mask.any() for mask in masks)
    assert len(instances_of(cell, "vesicle")) >= 8
    assert len(instances_of(cell, "periplasm")) == len(instances_of(cell, "bacterial-cytoplasm")) == 1


def test_vesicles_touch_so_that_components_fuse_them(cell):
    vesicles = instances_of(cell, "vesicle")
    assert pieces(cell.segmentation == LABELS["vesicle"]) < 0.7 * len(vesicles)
    assert all(pieces(mask) == 1 for mask in vesicles)
    assert all(np.array_equal(ndimage.binary_fill_holes(mask), mask) for mask in vesicles)  # none in another


def test_each_network_and_mitochondrion_is_one_piece(cell):
    for name in ("endoplasmic-reticulum", "mitochondrion", "bacterial-cytoplasm"):
        assert all(pieces(mask) == 1 for mask in instances_of(cell, name))


def test_organelles_are_as_large_as_the_settings_say(cell):
    """A sphere of the largest radius bounds what a vesicle takes, and slivers are few."""
    sizes = np.array([mask.sum() for mask in instances_of(cell, "vesicle")]) * 20.0**3
    assert sizes.max() <= 4.2 * HARD.vesicle_radius[1] ** 3 * 1.02
    assert (sizes > 4.2 * HARD.vesicle_radius[0] ** 3 * 0.4).all()


def test_the_periplasm_lies_around_the_cytoplasm(cell):
    periplasm, cytoplasm = (cell.segmentation == LABELS[name] for name in ("periplasm", "bacterial-cytoplasm"))
    around = ndimage.binary_dilation(cytoplasm, NEIGHBORS) & ~cytoplasm
    assert (periplasm[around]).all()
    width = ndimage.distance_transform_edt(periplasm | ~cytoplasm) * 20.0
    low, high = HARD.periplasm
    assert low < 2 * np.percentile(width[periplasm], 50) < high + 2 * 60 + 60


def test_membranes_are_dark(cell):
    """The outermost 60 angstrom of organelles are darker than what is around them."""
    inside = cell.segmentation > 0
    depth = ndimage.distance_transform_edt(inside)
    outside = ndimage.distance_transform_edt(~inside)
    membrane, cytosol = cell.tomogram[(depth > 1) & (depth <= 3)], cell.tomogram[outside > 3]
    error = np.hypot(membrane.std() / len(membrane) ** 0.5, cytosol.std() / len(cytosol) ** 0.5)
    assert membrane.mean() < cytosol.mean() - 5 * error


def test_easy_shows_membranes_more_clearly():
    ratios = []
    for preset in ("hard", "easy"):
        made = organelles(ORGANELLE_PRESETS[preset], shape=MIDDLE)
        depth = ndimage.distance_transform_edt(made.segmentation > 0)
        membrane = made.tomogram[(depth > 1) & (depth <= 3)]
        ratios.append((made.tomogram[depth == 0].mean() - membrane.mean()) / made.tomogram[depth == 0].std())
    assert ratios[0] < ratios[1]


def test_mitochondria_touch_where_asked():
    settings = replace(HARD, vesicles=0, networks=(0, 0), bacterium=0, mitochondria=6, touching=1)
    made = organelles(settings, seed=2, shape=SHAPE)
    assert pieces(made.segmentation == LABELS["mitochondrion"]) < len(instances_of(made, "mitochondrion"))


@pytest.mark.parametrize("shape", [(16, 64, 64), (1, 32, 32), (5, 1, 7)])
def test_volumes_thinner_than_an_organelle(shape):
    made = organelles(shape=shape)
    assert made.tomogram.shape == shape
    assert np.isfinite(made.tomogram).all()


def test_another_voxel_spacing_shows_the_same_sizes():
    made = organelles(
        replace(HARD, networks=(0, 0), mitochondria=0, bacterium=0), shape=(64, 96, 96), voxel_spacing=15.0
    )
    whole = [mask.sum() for mask in instances_of(made, "vesicle") if not on_a_face(mask)]
    radius = (max(whole) * 15.0**3 * 3 / (4 * np.pi)) ** (1 / 3)
    assert HARD.vesicle_radius[0] < radius < HARD.vesicle_radius[1]


def on_a_face(mask):
    return any(np.take(mask, end, axis).any() for axis in range(3) for end in (0, -1))


def test_nothing_but_cytosol():
    bare = replace(HARD, vesicles=0, mitochondria=0, networks=(0, 0), bacterium=0, particles={})
    assert not organelles(bare).segmentation.any()


def test_mistakes_are_errors():
    with pytest.raises(UsageError, match="seed"):
        organelles(seed=-1)
    with pytest.raises(UsageError, match="vesicel") as caught:
        organelles(labels={"vesicel": 1})
    assert "vesicle" in str(caught.value.hint)
    with pytest.raises(UsageError, match="label"):
        organelles(labels={"vesicle": 0})
    with pytest.raises(UsageError, match="ribosom"):
        organelles(replace(OrganelleSettings(), particles={"ribosom": 3}))
