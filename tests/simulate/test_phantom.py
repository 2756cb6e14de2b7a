"""Whole phantoms: reproducible, dark particles, any shape."""

from dataclasses import replace

import numpy as np
import pytest

from copick_tools.errors import UsageError
from copick_tools.simulate import PRESETS, simulate_phantom

LABELS = {"apo-ferritin": 1, "beta-galactosidase": 3, "ribosome": 4, "virus-like-particle": 6, "membrane": 7}
SHAPE = (32, 64, 64)
HARD = PRESETS["hard"]
CLEAR = replace(HARD, dose=100, thickness=0, contrast=4, decoys={}, vesicles=0, jitter=0, b_factor=0)


def phantom(settings=HARD, seed=0, shape=SHAPE, positions=None, voxel_spacing=10.0):
    return simulate_phantom(shape, voxel_spacing, LABELS, settings, seed, positions)


def test_same_seed_same_bytes():
    first, second = phantom(), phantom()
    for name in ("tomogram", "segmentation", "instances"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    for name, points in first.points.items():
        assert points.positions.tobytes() == second.points[name].positions.tobytes()
        assert points.rotations.tobytes() == second.points[name].rotations.tobytes()


def test_different_seeds_differ():
    first, second = phantom(), phantom(seed=1)
    assert not np.array_equal(first.tomogram, second.tomogram)
    assert not np.array_equal(first.instances, second.instances)


def test_imaging_does_not_move_particles():
    first, second = phantom(), phantom(replace(HARD, dose=5, defocus=30_000))
    assert not np.array_equal(first.tomogram, second.tomogram)
    assert np.array_equal(first.instances, second.instances)


def test_shapes_and_types():
    result = phantom()
    assert result.tomogram.shape == result.segmentation.shape == result.instances.shape == SHAPE
    assert (result.tomogram.dtype, result.segmentation.dtype) == (np.float32, np.uint8)
    assert result.tomogram.flags["C_CONTIGUOUS"]
    assert np.isfinite(result.tomogram).all()
    assert set(result.points) == set(LABELS) - {"membrane"}


@pytest.mark.parametrize("voxel_spacing", [7.0, 10.012, 15.0])
def test_a_particle_is_dark_where_the_point_is(voxel_spacing):
    voxel = np.array([38, 26, 16])  # xyz
    result = phantom(CLEAR, positions={"beta-galactosidase": [voxel * voxel_spacing]}, voxel_spacing=voxel_spacing)
    inside = result.segmentation == LABELS["beta-galactosidase"]
    dark = np.where(inside, np.minimum(result.tomogram, 0), 0)
    weights = dark / dark.sum()
    center = [(weights * grid).sum() for grid in np.indices(SHAPE)][::-1]
    assert np.allclose(center, voxel, atol=1)
    outside = result.tomogram[~inside]
    assert result.tomogram[inside].mean() < outside.mean() - 3 * outside.std()


def test_dose_raises_the_contrast_to_noise_ratio():
    positions = {"ribosome": [[320.0, 320, 160]]}
    ratios = []
    for dose in (0.5, 2, 8):
        result = phantom(replace(HARD, dose=dose, decoys={}, vesicles=0), positions=positions)
        inside = result.instances > 0
        ratios.append(-result.tomogram[inside].mean() / result.tomogram[~inside].std())
    assert ratios[0] < ratios[1] < ratios[2]


@pytest.mark.parametrize("shape", [(16, 64, 64), (1, 32, 32), (5, 1, 7)])
def test_volumes_thinner_than_a_particle(shape):
    crowded = replace(HARD, counts=dict.fromkeys(HARD.counts, 400))
    result = phantom(crowded, shape=shape)
    assert result.tomogram.shape == shape
    assert np.isfinite(result.tomogram).all()


def test_nothing_but_ice():
    empty = phantom(replace(HARD, counts={}, decoys={}, vesicles=0))
    assert not empty.instances.any()
    assert all(len(points) == 0 for points in empty.points.values())


def test_negative_seed_is_an_error():
    with pytest.raises(UsageError, match="seed"):
        phantom(seed=-1)
