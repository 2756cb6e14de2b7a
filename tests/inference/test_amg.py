"""Automatic mask generation: perfect by an oracle, and each of its filters does something."""

import numpy as np
import pytest
from inference.asking import Counting, Planned, Right, Silent, behind, between, dense, noise, prompted
from volumes.blobs import accuracy, ball, touching

from copick_tools.inference import amg
from copick_tools.inference.oracle import Oracle
from copick_tools.recipes.prompting import Amg
from copick_tools.volumes.cuts import Cuts, painted
from copick_tools.volumes.decoding import Decoding

SOLID = touching((16, 40, 40), 6, 8.0, seed=0)
PLANE = touching((24, 64, 60), 40, 8.0, seed=3)[12:13]
PLANE = np.where((np.bincount(PLANE.reshape(-1)) > 9)[PLANE], PLANE, 0)  # a grid may miss what is smaller
GRID = Amg(points_per_side=16)
SIDE = 20


@pytest.mark.parametrize("network", [Silent(), Right(PLANE), Right(PLANE, "flows")])
@pytest.mark.parametrize("space", ["volume", "slices"])
def test_perfect_in_a_plane(network, space):
    """Names of objects come from the network, whatever it learned, or from the output."""
    found = prompted(PLANE, network, mode="amg", space=space, amg=Amg(points_per_side=32, min_size=0)).instances(
        noise(PLANE.shape), Decoding()
    )
    assert accuracy(PLANE, found.ids) == 1.0
    assert set(found.objects.tolist()) == {0, 1}


@pytest.mark.parametrize("tiling", [{}, {"tile": 24, "halo": 17, "batch_size": 7}])
def test_perfect_in_a_volume(tiling):
    found = prompted(SOLID, Silent(), mode="amg", amg=GRID, **tiling).instances(noise(SOLID.shape), Decoding())
    assert accuracy(SOLID, found.ids) == 1.0


def test_perfect_in_slices_of_columns():
    """Objects that have the same form in all slices, and touch in the plane."""
    ids = np.repeat(PLANE, 4, axis=0)
    found = prompted(ids, Silent(), mode="amg", space="slices", amg=Amg(min_size=0)).instances(
        noise(ids.shape), Decoding()
    )
    assert accuracy(ids, found.ids) == 1.0


def test_it_asks_only_where_nothing_was_found():
    model, every = Counting(SOLID), Counting(SOLID)
    found = amg.in_volume(behind(model, SOLID.shape), GRID, lambda z: None)
    assert accuracy(SOLID, found) == 1.0
    encoded = behind(every, SOLID.shape)
    for z in range(len(SOLID)):
        amg.records(encoded, z, GRID)
    objects = 6 * len(SOLID)  # at most that many masks are followed each way
    assert sum(model.asked) < 0.85 * sum(every.asked) + 2 * objects
    assert set(model.encoded.values()) == {1}


@pytest.mark.parametrize("length", [*range(1, 12), 64])
def test_slices_from_the_middle_on(length):
    levels = amg.halving(length)
    assert sorted(z for level in levels for z in level) == list(range(length))
    assert levels[0] == [length // 2]
    assert all(level == sorted(level) for level in levels)
    assert len(levels) == length.bit_length()


def square(first, last, height=5.0, island=None):
    """(y, x) logits of a square in the plane, and an island of a pixel."""
    logits = np.full((SIDE, SIDE), -9.0)
    logits[first:last, first:last] = height
    if island:
        logits[island] = height
    return logits


def planned(*answers, side=2, **prompting):
    """A plane in which each point of a grid of 2 x 2 gets the same masks, by expected IoU."""
    masks, ious = np.stack([logits for logits, _ in answers]), [iou for _, iou in answers]
    places = [int((k + 0.5) / side * SIDE) for k in range(side)]
    return behind(Planned({(y, x): (masks, ious) for y in places for x in places}), (1, SIDE, SIDE), **prompting)


def found_of(*answers, **how):
    """How many pixels each instance has."""
    wanted = Amg(points_per_side=2, **how)
    return np.bincount(amg.chosen(amg.records(planned(*answers), 0, wanted), wanted).reshape(-1))[1:].tolist()


def test_each_of_several_masks_counts():
    """Also those that the model believes in less."""
    assert found_of((square(0, 8), 0.95), (square(10, 18), 0.9), (square(0, 3), 0.5)) == [64, 64]


def test_the_expected_iou():
    answers = (square(0, 8), 0.95), (square(10, 16), 0.9)
    for least, pixels in ((0.0, [64, 36]), (0.9, [64, 36]), (0.91, [64]), (0.96, [])):
        assert found_of(*answers, pred_iou=least) == pixels


def test_the_stability():
    loose = square(0, 8)
    loose[8, 0:8] = -0.5  # 64 pixels above 1, 72 above -1
    for least, offset, count in ((64 / 72, 1.0, 1), (0.9, 1.0, 0), (0.95, 1.0, 0), (0.95, 0.4, 1)):
        assert len(found_of((loose, 0.95), stability=least, stability_offset=offset)) == count


def test_boxes_that_overlap():
    answers = (square(0, 10), 0.9), (square(0, 9), 0.95)  # an IoU of 0.81
    assert found_of(*answers, box_nms=0.8) == [81]
    assert found_of(*answers, box_nms=0.81, min_size=0) == [81, 19]


def test_islands_and_holes_and_small_masks():
    ring = square(0, 10)
    ring[4:6, 4:6] = -9
    answer = np.where(square(0, 1, island=(15, 15)) > 0, 5.0, ring)
    assert found_of((answer, 0.95), min_size=0) == [97]
    assert found_of((answer, 0.95), min_size=1) == [97]
    assert found_of((answer, 0.95), min_size=4) == [96]
    assert found_of((answer, 0.95), min_size=5) == [100]
    assert found_of((answer, 0.95), min_size=96) == [100]
    assert found_of((answer, 0.95), min_size=97) == []


def test_what_covers_all_is_the_background():
    assert found_of((np.full((SIDE, SIDE), 5.0), 0.99), (square(0, 8), 0.9)) == [64]
    most = np.full((SIDE, SIDE), 5.0)
    most[0] = -9  # 0.95 of it
    assert found_of((most, 0.99)) == [380]


def test_masks_that_a_tile_cuts_off_go():
    """But not where the image ends."""
    ids = np.zeros((1, 40, 40), int)
    ids[0, 0:10, 0:10], ids[0, 12:24, 12:30] = 1, 2
    encoded = behind(Oracle(ids), ids.shape, tile=20)
    cuts = amg.records(encoded, 0, GRID)
    assert np.unique(ids.reshape(-1)[cuts.voxels]).tolist() == [1]
    wide = behind(Oracle(ids), ids.shape, tile=20, halo=11)
    assert accuracy(ids, amg.chosen(amg.records(wide, 0, GRID), GRID)[None]) == 1.0


def test_empty_answers_are_none():
    encoded = behind(Oracle(np.zeros((2, 16, 16), int)), (2, 16, 16))
    low = Amg(points_per_side=4, pred_iou=0.0, stability=0.0)
    cuts = amg.records(encoded, 0, low)
    assert len(cuts) == 0
    assert amg.chosen(cuts, low).shape == (16, 16)
    assert amg.in_volume(encoded, low, lambda z: None).max() == 0


@pytest.mark.parametrize("seed", range(3))
def test_records_can_be_chosen_from_again(seed):
    """Prediction and choice apart give what they give together."""
    rng = np.random.default_rng(seed)
    answers = [
        (square(first, first + rng.integers(3, 8), rng.uniform(0.2, 3)), rng.uniform(0.5, 1)) for first in range(0, 12)
    ]
    loose = Amg(points_per_side=2, pred_iou=0.5, stability=0.0)
    encoded = planned(*answers)
    kept, seen = amg.records(encoded, 0, loose), set()
    for changes in ({"pred_iou": 0.8}, {"stability": 1.0}, {"box_nms": 0.1}, {"min_size": 0}, {"min_size": 20}):
        wanted = loose.model_copy(update=changes)
        anew = amg.chosen(amg.records(encoded, 0, wanted), wanted)
        np.testing.assert_array_equal(amg.chosen(kept, wanted), anew)
        seen.add(anew.tobytes())
    assert len(seen) >= 4


def test_points_lie_where_they_may():
    every, inside = Amg(points_per_side=40), np.zeros((40, 40), bool)
    inside[:, :20] = True
    model = Counting(PLANE[:, :40, :40])
    encoded = behind(model, (1, 40, 40))
    cuts = amg.records(encoded, 0, every, inside)
    assert sum(model.asked) == 40 * 40 // 2
    wanted = np.unique(PLANE[0, :40, :40][inside])
    masks = dense(cuts)[:, 0]
    assert {int(PLANE[0, :40, :40][mask][0]) for mask in masks} == set(wanted[wanted > 0].tolist())
    assert len(amg.records(encoded, 0, every, np.zeros((40, 40), bool))) == 0


@pytest.mark.parametrize("space", ["slices", "volume"])
def test_a_sample_restricts_prompts(space):
    ids = np.zeros((12, 24, 24), int)
    for number, z in enumerate((2, 9), start=1):
        ids[ball(ids.shape, (z, 12, 12), (2, 9, 9))] = number
    found = prompted(ids, Silent(), mode="amg", space=space, amg=Amg(points_per_side=6)).instances(
        noise(ids.shape), Decoding(), between(ids.shape, 6, 11)
    )
    assert accuracy(np.where(ids == 2, 1, 0), found.ids) == 1.0


def test_in_a_volume_the_least_size_is_of_voxels():
    ids = np.zeros((6, 24, 24), int)
    ids[1:5, 2:6, 2:6], ids[2:4, 14:18, 14:20] = 1, 2  # 64 and 48 voxels, 16 and 24 pixels of a slice
    for least, count in ((0, 2), (48, 2), (49, 1), (64, 1), (65, 0)):
        found = amg.in_volume(behind(Oracle(ids), ids.shape), Amg(points_per_side=12, min_size=least), lambda z: None)
        assert found.max() == count


def test_what_is_painted_is_what_was_chosen_first():
    cuts = Cuts.of(np.array([[[1, 1, 1, 0]], [[0, 0, 1, 1]]], bool), (1, 1, 4), said=(np.array([0.5, 0.9]), np.ones(2)))
    loose = Amg(pred_iou=0, stability=0, min_size=0)
    assert amg.chosen(cuts, loose).tolist() == [[2, 2, 1, 1]]
    assert painted(cuts, np.array([0, 1]))[0].tolist() == [[1, 1, 1, 2]]
