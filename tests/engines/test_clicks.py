"""Simulated prompts: where they may be, and that nothing but the draw decides."""

import numpy as np
import pytest
from engines.prompting import disc

from copick_tools.engines.promptable.clicks import box_of, chosen, corrections, pieces, pixel_of
from copick_tools.engines.promptable.rounds import first, with_more
from copick_tools.inference.promptable import BACKGROUND, OBJECT, PADDING

SHAPE = (24, 32)
WANTED = np.stack([disc(SHAPE, (8, 8), 6), disc(SHAPE, (14, 22), 7)])
KNOWN = np.ones(SHAPE, bool)


@pytest.mark.parametrize("seed", range(8))
def test_positives_where_it_was_missed_negatives_where_it_was_wrong(seed):
    found = np.roll(WANTED, 4, axis=2)
    places, labels = corrections(WANTED, found, KNOWN, np.random.default_rng(seed))
    assert labels.tolist() == [[OBJECT, BACKGROUND]] * 2
    for row in range(2):
        missed, extra = places[row]
        assert (WANTED[row] & ~found[row])[tuple(missed)]
        assert (found[row] & ~WANTED[row])[tuple(extra)]


def test_random_ones_where_nothing_is_wrong():
    drawn = [corrections(WANTED, WANTED, KNOWN, np.random.default_rng(seed)) for seed in range(20)]
    for places, labels in drawn:
        assert labels.tolist() == [[OBJECT, BACKGROUND]] * 2
        for row in range(2):
            assert WANTED[row][tuple(places[row, 0])]
            assert not WANTED[row][tuple(places[row, 1])]
    assert len({tuple(places[0, 0]) for places, _ in drawn}) > 10


def test_no_place_off_an_object_that_is_all_that_is_known():
    places, labels = corrections(KNOWN[None], KNOWN[None], KNOWN, np.random.default_rng(0))
    assert labels.tolist() == [[OBJECT, PADDING]]
    only = WANTED[0]
    _, labels = corrections(only[None], KNOWN[None], only, np.random.default_rng(0))
    assert labels.tolist() == [[OBJECT, PADDING]]


def test_unknown_voxels_are_never_negatives():
    known = KNOWN.copy()
    known[:, 16:] = False
    for seed in range(10):
        places, _ = corrections(WANTED[:1], KNOWN[None], known, np.random.default_rng(seed))
        assert known[tuple(places[0, 1])]


def test_the_same_draw_gives_the_same_prompts():
    one, same, other = (corrections(WANTED, np.zeros_like(WANTED), KNOWN, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one[0], same[0])
    assert (one[0] != other[0]).any()


def test_first_prompts():
    boxes = first(WANTED, True, np.random.default_rng(0))
    assert boxes.points.shape == (2, 0, 2)
    np.testing.assert_array_equal(boxes.boxes[0], [2, 2, 15, 15])
    points = first(WANTED, False, np.random.default_rng(0))
    assert points.boxes is None
    assert all(WANTED[row][tuple(points.points[row, 0])] for row in range(2))
    more = with_more(points, corrections(WANTED, WANTED, KNOWN, np.random.default_rng(1)), None)
    assert more.points.shape == (2, 3, 2)
    np.testing.assert_array_equal(more.points[:, :1], points.points)
    assert more.labels.tolist() == [[OBJECT, OBJECT, BACKGROUND]] * 2


def test_pieces_of_objects():
    ids = np.zeros(SHAPE, int)
    ids[1:5, 1:5] = 7  # one object in two pieces
    ids[10:14, 1:5] = 7
    ids[1:5, 5:9] = 9  # touches another
    ids[20, 20] = 11  # too small
    ids[16:20, 24:28] = 12  # not known
    numbered = pieces(ids, ids != 12, 4)
    assert sorted(np.unique(numbered)) == [0, *sorted(set(np.unique(numbered)) - {0})]
    assert len(np.unique(numbered)) == 4
    masks = chosen(numbered, 2, np.random.default_rng(0))
    assert masks.shape == (2, *SHAPE)
    assert masks.sum(axis=(1, 2)).tolist() == [16, 16]
    assert not (masks[0] & masks[1]).any()
    drawn = {chosen(numbered, 1, np.random.default_rng(seed)).tobytes() for seed in range(30)}
    assert len(drawn) == 3
    assert chosen(np.zeros(SHAPE, int), 3, np.random.default_rng(0)).shape == (0, *SHAPE)


def test_boxes_and_pixels():
    assert box_of(disc(SHAPE, (5, 9), 2)).tolist() == [3, 7, 8, 12]
    assert pixel_of(np.zeros(SHAPE, bool), np.random.default_rng(0)) is None
