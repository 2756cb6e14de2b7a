"""Target crops move with their voxels, and the vectors in them turn as what they lie in."""

import numpy as np
import pytest
import torch
from volumes.blobs import ball

from copick_tools.recipes.recipe import IGNORED, Augment
from copick_tools.training.augment import augment
from copick_tools.training.layouts import CLASSES, HEATMAPS, Shaped
from copick_tools.volumes.flow_fields import flow_fields

SIDES = (15, 21, 21)


def radial(planar):
    """A crop of unit vectors that point to a center, one slice of it or all; the voxels tell the place of the center."""
    shape = (1, *SIDES[1:]) if planar else SIDES
    center = (0 if planar else 5, 12, 8)
    steps = np.stack([c - axis for axis, c in zip(np.indices(shape), center)]).astype(float)
    flows = steps / np.maximum(np.linalg.norm(steps, axis=0), 1e-9)
    away = np.linalg.norm(steps, axis=0)
    head = np.stack([(away < 6).astype(float), np.ones(shape)])
    return away.astype(np.float32), np.concatenate([head, flows[1:] if planar else flows]).astype(np.float32)


def points_at_center(away, target, planar, least=0.99):
    """Whether known vectors point to the least of the distances; those next to the center may not."""
    center = np.unravel_index(away.argmin(), away.shape)
    steps = np.stack([c - axis for axis, c in zip(np.indices(away.shape), center)]).astype(float)[1 if planar else 0 :]
    there = (target[1] == 1) & (np.linalg.norm(steps, axis=0) > 2.5)
    cosine = (steps * target[2:]).sum(axis=0)[there] / np.linalg.norm(steps, axis=0)[there]
    assert there.any()
    np.testing.assert_allclose(np.linalg.norm(target[2:], axis=0)[there], 1, atol=1e-5)
    return cosine.min() > least


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_flips(planar, axis):
    away, target = radial(planar)
    before = target.copy()
    moved = Shaped(True).flipped(target, axis)
    assert points_at_center(np.flip(away, axis), moved, planar, 0.9999)
    np.testing.assert_array_equal(Shaped(True).flipped(moved, axis), before)
    np.testing.assert_array_equal(target, before)
    np.testing.assert_array_equal(Shaped(False).flipped(target, axis), np.flip(target, axis))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(planar, turns):
    away, target = radial(planar)
    before = target.copy()
    moved = Shaped(True).quarter(target, turns)
    assert points_at_center(np.rot90(away, turns, (-2, -1)), moved, planar, 0.9999)
    np.testing.assert_allclose(Shaped(True).quarter(moved, 4 - turns), before, atol=1e-6)
    np.testing.assert_array_equal(target, before)
    np.testing.assert_array_equal(Shaped(False).quarter(target, turns), np.rot90(target, turns, (-2, -1)))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("degrees", [-171.0, -90.0, -33.0, 17.0, 90.0, 120.0])
def test_free_turns(planar, degrees):
    from scipy import ndimage

    away, target = radial(planar)
    moved = Shaped(True).turned(target, degrees)
    turned = ndimage.rotate(away, degrees, (-2, -1), reshape=False, order=1, cval=99)
    assert points_at_center(turned, moved, planar, 0.9)  # by nearest neighbor, half a voxel off
    if degrees % 90 == 0:
        np.testing.assert_allclose(moved, Shaped(True).quarter(target, int(degrees // 90)), atol=1e-5)
    else:
        assert (moved[0] == IGNORED).any()
        np.testing.assert_array_equal(moved[0] == IGNORED, moved[1] == 0)
    assert set(np.unique(moved[1])) <= {0, 1}
    plain = Shaped(False).turned(target, degrees)
    np.testing.assert_array_equal(plain[:2], moved[:2])
    if not planar:
        np.testing.assert_array_equal(plain[2], moved[2])  # turns about z leave that component


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_augmented_flows_lead_to_the_center(planar, turn):
    settings = Augment(turn=turn, intensity=0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        away, target = radial(planar)
        moved, wanted = augment(away, target, settings, rng, Shaped(True))
        assert points_at_center(moved, wanted, planar, 0.9 if turn else 0.9999)
        assert moved.dtype == wanted.dtype == np.float32
        assert wanted.flags.c_contiguous


def test_flows_of_a_turned_object_are_turned_flows():
    ids = ball((9, 17, 17), (4, 7, 9), (3, 6, 4)).astype(int)
    target = np.concatenate([np.stack([ids, ids]), flow_fields(ids)]).astype(np.float32)
    for turns in (1, 2, 3):
        moved = Shaped(True).quarter(target, turns)
        np.testing.assert_allclose(moved[2:], flow_fields(moved[0].astype(int)), atol=1e-4)
    for axis in (-3, -2, -1):
        moved = Shaped(True).flipped(target, axis)
        np.testing.assert_allclose(moved[2:], flow_fields(moved[0].astype(int)), atol=1e-4)


def test_what_is_beyond_the_volume_is_unknown():
    missing = [(0, 1), (2, 0), (0, 3)]
    _, target = radial(False)
    more = Shaped(True).filled(target, missing)
    assert more.shape == (5, 16, 23, 24)
    beyond = np.ones(more.shape[1:], bool)
    beyond[:-1, 2:, :-3] = False
    assert (more[0, beyond] == IGNORED).all()
    assert not more[1:, beyond].any()
    np.testing.assert_array_equal(more[:, :-1, 2:, :-3], target)
    assert (CLASSES.filled(np.zeros(SIDES, np.uint8), missing)[beyond] == IGNORED).all()
    soft = HEATMAPS.filled(np.zeros((2, *SIDES), np.float32), missing)
    assert (soft[:, beyond] == -1).all()
    assert not soft[:, ~beyond].any()


def test_draws_do_not_depend_on_the_layout():
    away, target = radial(False)
    found = [
        augment(away, given, Augment(turn=0.5), np.random.default_rng(4), layout)[0]
        for given, layout in ((target, Shaped(True)), (target, Shaped(False)), (target[0].astype(np.uint8), CLASSES))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_flipped_slices_are_tensors():
    """An axis of one voxel that was flipped has a negative stride, which torch refuses."""
    voxels, target = np.ones((1, 8, 8), np.float32), np.ones((4, 1, 8, 8), np.float32)
    settings = Augment(flip_z=1, flip_yx=1, quarter_turn=0, intensity=0)
    for array in augment(voxels, target, settings, np.random.default_rng(0), Shaped(True)):
        torch.from_numpy(array)
