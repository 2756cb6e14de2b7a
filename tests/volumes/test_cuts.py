"""Masks as voxels, against the same masks as arrays."""

import itertools

import numpy as np
import pytest

from copick_tools.volumes.cuts import Cuts, joined, painted, suppressed, suppressed_by_box

PLANE, SOLID = (1, 9, 11), (5, 6, 7)


def held(masks, iou=None):
    """Masks (N, z, y, x) as cuts, slice by slice put together by hand."""
    flat = [np.flatnonzero(mask) for mask in masks]
    ends = np.r_[0, np.cumsum([len(part) for part in flat])].astype(np.int64)
    said = np.ones(len(masks)) if iou is None else np.asarray(iou, float)
    voxels = np.concatenate([*flat, np.empty(0, np.int64)]).astype(np.int64)
    return Cuts(tuple(masks.shape[1:]), voxels, ends, said, said / 2)


def blocks(shape, count, rng):
    """(N, z, y, x) boxes that overlap much, some with holes, some empty, some twice."""
    masks = np.zeros((count, *shape), bool)
    for mask in masks:
        if rng.random() < 0.1:
            continue
        low = [rng.integers(0, max(1, side // 3)) for side in shape]
        high = [rng.integers(max(first + 1, side - 3), side + 1) for first, side in zip(low, shape)]
        mask[tuple(map(slice, low, high))] = True
        mask &= rng.random(shape) < rng.choice([1.0, 1.0, 0.9])
    masks[1:] = np.where(rng.random(count - 1)[:, None, None, None] < 0.2, masks[:-1], masks[1:])
    return masks


def brute(masks, scores, threshold, boxes=False):
    """Suppression among arrays, one pair at a time."""
    kept = []
    for row in sorted(range(len(masks)), key=lambda row: (-scores[row], row)):
        one = box_of(masks[row]) if boxes else masks[row]
        others = [box_of(masks[other]) if boxes else masks[other] for other in kept]
        if one.any() and all((one & o).sum() / (one | o).sum() <= threshold for o in others):
            kept.append(row)
    return kept


def box_of(mask):
    """The mask's box along y and x, filled, in all slices."""
    found = np.zeros_like(mask)
    if mask.any():
        y, x = np.nonzero(mask.any(axis=0))
        found[:, y.min() : y.max() + 1, x.min() : x.max() + 1] = True
    return found


@pytest.mark.parametrize("shape", [PLANE, SOLID])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_that_of_dense_masks(shape, seed):
    rng = np.random.default_rng(seed)
    masks = blocks(shape, 40, rng)
    scores = rng.integers(0, 5, 40) / 4  # many ties
    lengths = set()
    for threshold in (0.0, 0.3, 0.5, 0.7, 0.9, 1.0):
        wanted = brute(masks, scores, threshold)
        assert suppressed(held(masks), scores, threshold).tolist() == wanted
        lengths.add(len(wanted))
        if shape == PLANE:
            assert suppressed_by_box(held(masks), scores, threshold).tolist() == brute(masks, scores, threshold, True)
    assert len(lengths) >= 4  # the thresholds do something
    assert len(wanted) == masks.any(axis=(1, 2, 3)).sum()  # nothing is above an IoU of 1, but empty masks go


@pytest.mark.parametrize("parts", [(9, 10), (57, 100), (7, 25), (7, 10), (29, 50), (1, 3)])
def test_an_iou_that_is_the_threshold_is_not_above_it(parts):
    """57 / 100 is 0.57, though 0.57 * 100 is below 57."""
    shared, union = parts
    masks = np.zeros((2, 1, 1, union), bool)
    masks[0] = True
    masks[1, ..., :shared] = True
    for suppress in (suppressed, suppressed_by_box):
        assert len(suppress(held(masks), np.ones(2), shared / union)) == 2
        assert suppress(held(masks), np.ones(2), np.nextafter(shared / union, 0)).tolist() == [0]


def test_what_is_suppressed_suppresses_nothing():
    masks = np.zeros((3, 1, 1, 30), bool)
    for row, mask in enumerate(masks):
        mask[..., 5 * row : 5 * row + 15] = True
    assert suppressed(held(masks), np.array([3, 2, 1]), 0.4).tolist() == [0, 2]
    assert suppressed(held(masks), np.array([1, 3, 2]), 0.4).tolist() == [1]


def test_of_equals_the_earlier_one_stays():
    masks = np.ones((4, *SOLID), bool)
    assert suppressed(held(masks), np.array([0.5, 0.7, 0.7, 0.1]), 0.9).tolist() == [1]
    assert suppressed_by_box(held(masks[:, :1]), np.array([0.5, 0.7, 0.7, 0.1]), 0.9).tolist() == [1]


@pytest.mark.parametrize("suppress", [suppressed, suppressed_by_box])
def test_nothing_to_suppress(suppress):
    for cuts in (Cuts.none(PLANE), held(np.zeros((3, *PLANE), bool))):
        kept = suppress(cuts, np.ones(len(cuts)), 0.5)
        assert len(kept) == 0
        assert painted(cuts, kept).shape == PLANE
        assert painted(cuts, kept).max() == 0


@pytest.mark.parametrize("together", [1, 7, 40])
def test_what_masks_share_is_the_same_in_pieces(together, monkeypatch):
    masks = blocks(SOLID, 30, np.random.default_rng(8))
    masks[3] = False
    scores = np.random.default_rng(9).random(30)
    whole = suppressed(held(masks), scores, 0.2)
    monkeypatch.setattr("copick_tools.volumes.cuts.TOGETHER", together)
    assert suppressed(held(masks), scores, 0.2).tolist() == whole.tolist()
    assert 0 < len(whole) < 29


def test_a_mask_in_its_box():
    masks = blocks((1, 9, 11), 6, np.random.default_rng(4))
    cuts = held(masks)
    for row in np.flatnonzero(cuts.sizes):
        mask, (y, x) = cuts.in_box(int(row))
        again = np.zeros((9, 11), bool)
        again[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        np.testing.assert_array_equal(again, masks[row, 0])
        assert mask.any(axis=0)[[0, -1]].all()
        assert mask.any(axis=1)[[0, -1]].all()


def test_the_first_of_several_masks_is_painted():
    rng = np.random.default_rng(3)
    masks = blocks(SOLID, 8, rng)
    rows = rng.permutation(8)[:5]
    wanted = np.zeros(SOLID, np.uint32)
    for number, row in enumerate(rows, start=1):
        wanted[masks[row] & (wanted == 0)] = number
    found = painted(held(masks), rows)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, wanted)


def test_rows_are_taken_with_what_is_said_of_them():
    masks = blocks(SOLID, 9, np.random.default_rng(0))
    masks[[2, 5]] = False
    cuts = held(masks, np.arange(9))
    for rows in ([], [2], [5, 2], [8, 0, 5, 3, 3], np.arange(9) % 2 == 0, np.zeros(9, bool)):
        found, wanted = cuts.take(np.asarray(rows)), masks[np.asarray(rows, bool if len(rows) == 9 else int)]
        assert (len(found), found.sizes.tolist()) == (len(wanted), wanted.sum(axis=(1, 2, 3)).tolist())
        for row, mask in enumerate(wanted):
            np.testing.assert_array_equal(found.of_row(row), np.flatnonzero(mask))
        np.testing.assert_array_equal(found.iou, np.arange(9)[np.asarray(rows, bool if len(rows) == 9 else int)])
        np.testing.assert_array_equal(found.stability, found.iou / 2)


def test_masks_are_joined_in_order():
    masks = blocks(SOLID, 6, np.random.default_rng(1))
    masks[0] = masks[5] = False
    cuts = held(masks, np.arange(6))
    parts = [cuts.take(np.arange(0, 1)), Cuts.none(SOLID), cuts.take(np.arange(1, 5)), cuts.take(np.arange(5, 6))]
    found = joined(SOLID, parts)
    for name in ("voxels", "ends", "iou", "stability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(cuts, name))
    for none in (joined(SOLID, []), joined(SOLID, [Cuts.none(SOLID)])):
        assert (len(none), none.shape, len(none.take(np.empty(0, int)))) == (0, SOLID, 0)


def test_boxes_are_those_of_the_masks():
    for masks in (blocks(SOLID, 12, np.random.default_rng(2)), np.zeros((2, *SOLID), bool)):
        masks[0] = masks[-1] = False  # empty ones first, last and between
        boxes = held(masks).boxes()
        for mask, box in zip(masks, boxes):
            places = np.argwhere(mask)
            wanted = [places.min(axis=0), places.max(axis=0) + 1] if len(places) else np.zeros((2, 3))
            np.testing.assert_array_equal(box, wanted)
    assert Cuts.none(SOLID).boxes().shape == (0, 2, 3)


def test_masks_of_a_tile_lie_where_the_tile_does():
    rng = np.random.default_rng(5)
    masks = rng.random((3, 4, 5)) < 0.4
    masks[1] = False
    whole = np.zeros((3, *SOLID), bool)
    whole[:, 3, 2:6, 1:6] = masks
    said = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    cuts = Cuts.of(masks, SOLID, z=3, corner=(2, 1), said=said)
    for name in ("voxels", "ends"):
        np.testing.assert_array_equal(getattr(cuts, name), getattr(held(whole), name))
    assert (cuts.iou.tolist(), cuts.stability.tolist()) == tuple(part.tolist() for part in said)
    assert len(Cuts.of(np.empty((0, 4, 5), bool), SOLID)) == 0


def test_large_volumes_need_no_room():
    """Positions beyond 32 bits, in masks of a few voxels."""
    shape = (4, 50_000, 50_000)
    tile = np.ones((2, 2, 2), bool)
    parts = [Cuts.of(tile[:1], shape, 3, corner) for corner in itertools.repeat((49_998, 49_998), 2)]
    cuts = joined(shape, parts)
    assert cuts.voxels.max() == np.prod(shape, dtype=np.int64) - 1
    assert cuts.boxes()[1].tolist() == [[3, 49_998, 49_998], [4, 50_000, 50_000]]
    assert suppressed(cuts, np.array([0.1, 0.2]), 0.9).tolist() == [1]


def test_what_better_masks_cover_is_left_out():
    masks = np.zeros((4, 1, 10), bool)
    masks[0, 0, :6] = masks[1, 0, 3:9] = masks[2, 0, 1:8] = masks[3, 0, 9:] = True
    cuts = Cuts.of(masks, (1, 1, 10))
    rows = np.array([0, 1, 2, 3])
    assert painted(cuts, rows)[0, 0].tolist() == [1] * 6 + [2] * 3 + [4]
    assert painted(cuts, rows, covered=0.5)[0, 0].tolist() == [1] * 6 + [2] * 3 + [4]  # half of the second is its own
    assert painted(cuts, rows, covered=0.4)[0, 0].tolist() == [1] * 6 + [0] * 3 + [4]
    assert painted(cuts, rows[[2, 0, 1, 3]], covered=0.5)[0, 0].tolist() == [0] + [1] * 7 + [0, 4]
