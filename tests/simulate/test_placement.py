"""Where things go: uniform rotations, no collisions, given positions as they are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from copick_tools.simulate import PRESETS
from copick_tools.simulate.densities import load_densities
from copick_tools.simulate.geometry import field_around
from copick_tools.simulate.membranes import HALF_THICKNESS
from copick_tools.simulate.placement import place, random_rotations, scattered

HARD = PRESETS["hard"]
FIELD = field_around((64, 160, 160), 10.0, 45)
RADII = {name: density.radius for name, density in load_densities(scattered(HARD, None), 10.0).items()}


def layout_of(settings=HARD, given=None, seed=0, field=FIELD):
    return place(field, RADII, settings, given, np.random.default_rng(seed))


def spheres(layout):
    positions = np.concatenate([copies.positions for copies in layout.copies])
    return positions, np.repeat([RADII[c.name] for c in layout.copies], [len(c.positions) for c in layout.copies])


def test_nothing_overlaps():
    layout = layout_of()
    positions, radii = spheres(layout)
    assert len(positions) > 50
    gaps = cdist(positions, positions) - (radii[:, None] + radii)
    np.fill_diagonal(gaps, 1)
    assert gaps.min() >= 0
    assert len(layout.vesicles) >= 1
    shells = np.abs(cdist(positions, layout.vesicles.positions) - layout.vesicles.radii)
    assert (shells - radii[:, None]).min() >= HALF_THICKNESS


def test_spheres_fit_into_the_ice_and_fill_the_margin():
    positions, radii = spheres(layout_of())
    height = (FIELD.shape[0] - 1) * FIELD.voxel_spacing
    assert (positions[:, 2] >= radii).all()
    assert (positions[:, 2] <= height - radii).all()
    assert not FIELD.keeps(positions).all()


def test_copies_are_as_dense_as_the_settings_say():
    sparse = replace(HARD, counts={"beta-amylase": 20}, decoys={}, vesicles=0)
    numbers = [len(layout_of(sparse, seed=seed).copies[0].positions) for seed in range(20)]
    expected = 20 * FIELD.volume / (64 * 256 * 256 * 1000)
    assert np.mean(numbers) == pytest.approx(expected, rel=0.03)


def test_given_positions_stay_even_where_they_overlap():
    given = {"ribosome": np.array([[500.0, 500, 300], [520, 500, 300], [-100, 700, 300]])}
    layout = layout_of(given=given)
    by_name = {copies.name: copies for copies in layout.copies}
    assert np.array_equal(by_name["ribosome"].positions, given["ribosome"])
    assert "apo-ferritin" not in by_name
    assert len(by_name["albumin"].positions) in (1, 2)  # 60 for 96 particles
    for decoy in HARD.decoys:
        gaps = cdist(by_name[decoy].positions, given["ribosome"]) - RADII[decoy] - RADII["ribosome"]
        assert (gaps >= 0).all()


def test_rotations_are_rotations_and_cover_all_directions():
    rotations = random_rotations(4000, np.random.default_rng(0))
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.abs(rotations.mean(axis=0)).max() < 0.05
    assert np.allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.02)
    assert random_rotations(0, np.random.default_rng(0)).shape == (0, 3, 3)
