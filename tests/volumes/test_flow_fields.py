"""Flows are those of Cellpose's diffusion, they stay in their object, and lead to its center however far that is."""

from itertools import product

import numpy as np
import pytest
from volumes.blobs import ball, touching

from copick_tools.volumes import flow_fields as module
from copick_tools.volumes.flow_fields import directions, flow_fields, solids
from copick_tools.volumes.following import followed, grouped


def diffused(mask, center, planar, steps=1200):
    """(3, N) by Cellpose's steps: heat is added at the center, then each voxel is the mean of itself and its neighbors."""
    near = [step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]
    around = [(0, *step) for step in product((-1, 0, 1), repeat=2)] if planar else [(0, 0, 0), *near]
    padded = np.pad(mask, 1)
    heat = np.zeros(padded.shape)
    boxes = [tuple(slice(1 + s, side - 1 + s) for s, side in zip(step, heat.shape)) for step in around]
    for _ in range(steps):
        heat[tuple(c + 1 for c in center)] += 1
        heat[1:-1, 1:-1, 1:-1] = np.where(mask, sum(heat[box] for box in boxes) / len(around), 0)
    rise = np.stack([np.roll(heat, -1, axis) - np.roll(heat, 1, axis) for axis in range(3)])
    rise = rise[:, 1:-1, 1:-1, 1:-1][:, mask]
    length = np.linalg.norm(rise, axis=0)
    return rise / np.where(length > 0, length, 1)


def mean_cosine(one, other):
    inside = (np.linalg.norm(one, axis=0) > 0.5) & (np.linalg.norm(other, axis=0) > 0.5)
    assert inside.mean() > 0.9
    return (one * other).sum(axis=0)[inside].mean()


def groups(ids):
    """How many voxels of each object of a volume come to rest together: (objects, sinks)."""
    mask = ids > 0
    sinks = grouped(followed(flow_fields(ids), mask), mask.shape)
    return np.array(
        [np.bincount(sinks[ids[mask] == value], minlength=sinks.max() + 1) for value in np.unique(ids[mask])]
    )


def tube(path, radius, shape):
    return np.any([ball(shape, place, radius) for place in path], axis=0).astype(int)


def ends(ids):
    """How far from the center of the one object its voxels come to rest, in voxels."""
    (solid,) = solids(ids)
    center = np.array(solid.center) + [part.start for part in solid.box]
    mask = ids > 0
    at = np.column_stack(np.unravel_index(followed(flow_fields(ids), mask), mask.shape))
    return np.linalg.norm(at - center, axis=1)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_cellposes_diffusion(planar, seed):
    ids = touching((1, 40, 40), 5, 8.0, seed) if planar else touching((14, 20, 20), 4, 6.0, seed)
    for solid in solids(ids):
        found = directions(solid.mask, solid.center, planar=planar)
        assert mean_cosine(found, diffused(solid.mask, solid.center, planar)) > 0.999
        np.testing.assert_array_equal(flow_fields(ids)[(slice(None), *solid.box)][:, solid.mask], found)


def test_units_along_zyx():
    flows = flow_fields(ball((21, 21, 21), (10, 10, 10), 8).astype(int))
    for axis in range(3):
        before, after = [10, 10, 10], [10, 10, 10]
        before[axis], after[axis] = 5, 15
        assert flows[(slice(None), *before)].tolist() == pytest.approx(np.eye(3)[axis].tolist(), abs=1e-5)
        assert flows[(slice(None), *after)].tolist() == pytest.approx((-np.eye(3)[axis]).tolist(), abs=1e-5)
    length = np.linalg.norm(flows, axis=0)
    assert flows.dtype == np.float32
    inside = ball((21, 21, 21), (10, 10, 10), 8)
    assert length[10, 10, 10] == 0
    inside[10, 10, 10] = False
    np.testing.assert_allclose(length, inside, atol=1e-5)


def test_touching_objects_do_not_influence_each_other():
    ids = touching()
    together = flow_fields(ids)
    for value in range(1, ids.max() + 1):
        alone = flow_fields((ids == value).astype(int))
        np.testing.assert_array_equal(together[:, ids == value], alone[:, ids == value])


def test_gaps_in_ids_change_nothing():
    ids = touching()
    np.testing.assert_array_equal(flow_fields(np.array([0, 900, 3, 70000, 5, 8, 9, 2, 1])[ids]), flow_fields(ids))
    assert [solid.id for solid in solids(np.array([[[0, 7, 3]]], np.uint32))] == [3, 7]


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6)])
def test_nothing_and_one_voxel(shape):
    ids = np.zeros(shape, np.uint32)
    assert not flow_fields(ids).any()
    ids[0, 2, 3] = 4
    assert not flow_fields(ids).any()
    ids[0, 2, 4] = 4
    assert flow_fields(ids)[:, 0, 2, 3:5].tolist() == [[0, 0], [0, 0], [1, -1]]


def test_an_object_fills_the_volume():
    assert ends(np.ones((12, 16, 14), int)).max() == 0
    most = np.ones((16, 20, 20), int)
    most[:2] = 0
    most[:, 3:5, 6:8] = 0
    assert (most > 0).mean() > 0.85
    assert groups(most).tolist() == [[0, (most > 0).sum()]]


@pytest.mark.parametrize(("radius", "length"), [(0.5, 1000), (2.0, 400)])
def test_heat_does_not_get_too_small_in_a_tube(radius, length):
    """At the ends of the thin one it is smaller than what a float holds."""
    straight = tube([(4, 4, x) for x in range(3, length - 3)], radius, (9, 9, length))
    assert ends(straight).max() <= 1


@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_ways_stay_inside_of_a_coil(radius):
    turns = np.linspace(0, 6 * np.pi, 400)
    coil = tube(np.round([(4 + 3 * a, 24 + 18 * np.sin(a), 24 + 18 * np.cos(a)) for a in turns]), radius, (66, 48, 48))
    assert ends(coil).max() <= 1


def test_a_thin_shell_leads_around():
    """At its other side the heat is smaller by 14 orders of magnitude."""
    shell = ball((20, 40, 40), (10, 20, 20), 17) & ~ball((20, 40, 40), (10, 20, 20), 12)
    assert groups(shell.astype(int)).tolist() == [[0, shell.sum()]]


@pytest.mark.parametrize("planar", [False, True])
def test_the_center_of_a_ring_lies_in_it(planar):
    shape = (1, 40, 40) if planar else (12, 40, 40)
    away = np.hypot(*(axis - c for axis, c in zip(np.ogrid[:40, :40], (20.3, 19.6))))
    band = (away >= 10) & (away <= 15.4) & (np.arange(40)[:, None] > 7)  # not of mirror symmetry, where flows cancel
    ids = np.zeros(shape, int)
    ids[slice(None) if planar else slice(3, 9)] = band
    (solid,) = solids(ids)
    assert solid.mask[solid.center]
    assert groups(ids).tolist() == [[0, (ids > 0).sum()]]


@pytest.mark.parametrize("planar", [False, True])
def test_large_objects_are_solved_on_a_coarser_grid(monkeypatch, planar):
    shape = (1, 90, 80) if planar else (40, 50, 46)
    ids = ball(shape, (0 if planar else 21, 40, 22), (15, 38, 20)).astype(int)
    fine = flow_fields(ids)
    monkeypatch.setattr(module, "SOLVED", int(ids.sum()) // (3 if planar else 7))
    assert ends(ids).max() <= 2
    coarse = flow_fields(ids)
    assert not np.array_equal(coarse, fine)
    assert mean_cosine(coarse[:, ids > 0], fine[:, ids > 0]) > 0.99
    assert groups(ids).tolist() == [[0, ids.sum()]]


def test_what_hangs_together_by_corners_alone_is_finite():
    ids = np.zeros((8, 8, 8), int)
    ids[:4, :4, :4] = ids[4:, 4:, 4:] = 1
    far = np.zeros((8, 8, 8), int)
    far[:3, :3, :3] = far[6:, 6:, 6:] = 1
    for both in (ids, far):
        flows = flow_fields(both)
        assert np.isfinite(flows).all()
        assert np.linalg.norm(flows, axis=0).max() < 1.001


@pytest.mark.parametrize("planar", [False, True])
def test_small_objects_are_solved_at_once(monkeypatch, planar):
    small = touching((1, 30, 30), 6, 5.0) if planar else touching((10, 16, 16), 6, 2.8)
    if not planar:
        small[0, 0] = 7  # a row of 16
    assert np.bincount(small.ravel())[1:].max() <= module.SMALL
    dense = flow_fields(small)
    monkeypatch.setattr(module, "SMALL", 0)
    np.testing.assert_allclose(dense, flow_fields(small), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 40, 40), (12, 24, 24)])
def test_across_changes_voxels_beside_another_object_alone(shape):
    rng = np.random.default_rng(2)
    places = np.stack([rng.uniform(0, side, 12) for side in shape], axis=1)
    away = np.linalg.norm(np.stack(np.indices(shape), axis=-1)[..., None, :] - places, axis=-1)
    ids = np.where(away.min(axis=-1) < 7, 1 + away.argmin(axis=-1), 0).astype(np.int32)
    alone, across = flow_fields(ids), flow_fields(ids, across=True)
    padded, beside = np.pad(ids, 1), np.zeros(shape, bool)
    for axis in range(3):
        for step in (1, -1):
            other = np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
            beside |= (other > 0) & (other != ids) & (ids > 0)
    different = np.abs(alone - across).max(axis=0) > 1e-5
    assert different.any()
    assert not (different & ~beside).any()
    np.testing.assert_allclose(np.linalg.norm(across, axis=0)[ids > 0], 1, atol=1e-5)


def test_across_of_objects_that_lie_apart_is_the_same():
    ids = np.zeros((1, 16, 16), np.int32)
    for number, (low, high) in enumerate(((2, 5), (9, 14)), start=1):
        ids[0, low:high, low:high] = number
    np.testing.assert_array_equal(flow_fields(ids), flow_fields(ids, across=True))
