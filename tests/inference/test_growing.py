"""Objects followed from slice to slice: where they end, what they aren't led into, and how often slices are looked at."""

from collections import Counter

import numpy as np
import pytest
from inference.asking import Counting, behind, dense
from volumes.blobs import ball, touching

from copick_tools.inference.encoded import Ask
from copick_tools.inference.growing import goes_on, grown, reach
from copick_tools.inference.oracle import SURE, Oracle
from copick_tools.inference.projection import Projection
from copick_tools.inference.promptable import Answer
from copick_tools.volumes.cuts import Cuts

SHAPE = (30, 32, 34)


class Remembering:
    """A memory that knows the answer, of the objects that the masks are on; it goes on as long as it is asked."""

    def __init__(self, ids):
        self.ids, self.seen, self.closed = ids, [], 0

    def follow(self, slices, z, masks, step):
        names = [np.bincount(self.ids[z][mask]).argmax() for mask in masks]
        try:
            for there in range(z + step, len(self.ids) if step > 0 else -1, step):
                self.seen.append((z, there))
                np.testing.assert_array_equal(slices[there]["ids"], self.ids[there])
                found = np.stack([self.ids[there] == name for name in names])[:, None]
                yield there, Answer(np.where(found, SURE, -SURE).astype(np.float32), found.any(axis=(2, 3)) * 0.8)
        finally:
            self.closed += 1


def seeded(encoded, **places):
    """Masks of points in slices: z3=[(y, x), …]."""
    return {
        int(name[1:]): encoded.asked(int(name[1:]), Ask.on(np.array(points)), offset=1.0)
        for name, points in places.items()
    }


def stacked(gap):
    """Two balls, one above the other, ``gap`` slices between their centers."""
    one, other = (ball(SHAPE, (z, 16, 16), 6) for z in (8, 8 + gap))
    return np.where(one, 1, np.where(other, 2, 0))


@pytest.mark.parametrize("memory", [False, True])
def test_objects_are_followed_both_ways_until_they_end(memory):
    ids = stacked(14)  # one slice is free between them
    encoded = behind(Oracle(ids), SHAPE)
    cuts = grown(
        encoded, seeded(encoded, z6=[(16, 16)], z24=[(16, 16), (0, 0)]), 1.0, Remembering(ids) if memory else None
    )
    np.testing.assert_array_equal(dense(cuts), [ids == 1, ids == 2, np.zeros(SHAPE, bool)])


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("gap", [13, 12, 11, 9, 6])
def test_they_are_not_led_into_a_neighbor(gap, memory):
    """Balls that touch, and that share a part which is of one of them."""
    ids = stacked(gap)
    encoded = behind(Oracle(ids), SHAPE)
    follower = Remembering(ids) if memory else None
    cuts = grown(encoded, seeded(encoded, z8=[(16, 16)]), 1.0, follower)
    found = dense(cuts)[0]
    own, other = (np.count_nonzero(found & (ids == name)) / np.count_nonzero(ids == name) for name in (1, 2))
    assert own >= 0.95
    assert other <= 0.05


def test_neighbors_in_the_plane_stay_apart():
    places = [(14 + (y + x) % 3, 5 + 9 * y, 6 + 9 * x) for y in range(3) for x in range(3)]
    away = np.stack([sum((axis - c) ** 2 for axis, c in zip(np.indices(SHAPE), place)) for place in places])
    ids = np.where(away.min(axis=0) <= 36, 1 + away.argmin(axis=0), 0)
    encoded, seeds = behind(Oracle(ids), SHAPE), {}
    for z, y, x in places:
        seeds.setdefault(f"z{z}", []).append((y, x))
    cuts = grown(encoded, seeded(encoded, **seeds), 1.0)
    names = [ids[int(z[1:]), y, x] for z, there in seeds.items() for y, x in there]
    np.testing.assert_array_equal(dense(cuts), ids == np.array(names)[:, None, None, None])


def test_slices_are_encoded_once_and_asked_once_a_sweep():
    ids = touching(SHAPE, 20, 8.0, seed=2)
    model = Counting(ids)
    encoded = behind(model, SHAPE)
    seeds = seeded(encoded, z12=[(4, 4), (16, 16), (28, 28)], z15=[(16, 16), (10, 20)])
    for z in (12, 15):
        assert model.encoded[z] == 1
    model.asked.clear()
    grown(encoded, seeds, 1.0)
    assert set(model.encoded.values()) == {1}
    assert len(model.asked) <= 2 * SHAPE[0]  # one batch holds all objects of a slice
    assert len(model.asked) >= len(set(model.encoded) - {12, 15})


def test_nothing_is_asked_where_no_object_is_left():
    ids = stacked(14)
    model = Counting(ids)
    encoded = behind(model, SHAPE)
    grown(encoded, seeded(encoded, z8=[(16, 16)]), 1.0)
    assert set(model.encoded) == set(range(1, 16))  # the object, and the slice after its last one on either side


def test_a_memory_is_closed_when_all_objects_ended():
    ids = stacked(14)
    follower = Remembering(ids)
    encoded = behind(Oracle(ids), SHAPE)
    cuts = grown(encoded, seeded(encoded, z8=[(16, 16)], z22=[(16, 16)]), 1.0, follower)
    assert len(cuts) == 2
    assert follower.closed == 4  # two slices with seeds, two ways
    assert Counter(z for z, _ in follower.seen) == {8: 14, 22: 14}
    assert {there for z, there in follower.seen if z == 8} == {*range(1, 8), *range(9, 16)}


def test_what_is_said_of_an_object_is_the_mean_by_size():
    """Half of what the seed's model says of it, 0.8 of what the memory says."""
    ids = stacked(14)
    encoded = behind(Oracle(ids), SHAPE)
    cuts = grown(encoded, seeded(encoded, z8=[(16, 16)]), 1.0, Remembering(ids))
    sizes = np.array([(plane == 1).sum() for plane in ids])
    assert cuts.iou[0] == pytest.approx((sizes[8] * 1.0 + (sizes.sum() - sizes[8]) * 0.8) / sizes.sum())
    assert cuts.stability.tolist() == [1.0]


def test_no_seeds_at_all():
    encoded = behind(Oracle(stacked(14)), SHAPE)
    empty = seeded(encoded, z0=[(0, 0)])
    for seeds, count in (({}, 0), ({3: Cuts.none(encoded.plane)}, 0), (empty, 1)):
        for follower in (None, Remembering(stacked(14))):
            cuts = grown(encoded, seeds, 1.0, follower)
            assert (len(cuts), cuts.voxels.tolist(), cuts.shape) == (count, [], SHAPE)
            assert len(cuts.iou) == len(cuts.stability) == count


@pytest.mark.parametrize(
    ("sizes", "seed", "ends"),
    [
        ([5, 40, 90, 100, 60, 30, 35, 70, 100], 3, (0, 5)),  # another one above
        ([100, 70, 35, 30, 60, 100, 90, 40, 5], 5, (3, 8)),  # below
        ([90, 20, 95, 100, 95, 20, 90], 3, (1, 5)),  # on both sides
        ([20, 40, 80, 100, 80, 40, 20], 0, (0, 6)),  # known at its tip
        ([101, 50, 20, 18, 45, 100], 2, (0, 3)),  # known at its tip, and another one behind it
        ([100, 60, 100], 0, (0, 2)),  # not small enough
        ([100, 49, 90], 0, (0, 2)),  # not as large again
        ([100, 50, 100], 0, (0, 1)),
        ([100], 0, (0, 0)),
    ],
)
def test_an_object_ends_at_its_waist(sizes, seed, ends):
    assert reach(sizes, seed, 0.5) == ends
    assert reach(sizes[::-1], len(sizes) - 1 - seed, 0.5) == (len(sizes) - 1 - ends[1], len(sizes) - 1 - ends[0])
    assert reach(sizes, seed, 0.0) == (0, len(sizes) - 1)


def flat(*spans, width=40):
    """Masks of a line of pixels: from, to."""
    masks = np.zeros((len(spans), 1, width), bool)
    for mask, (first, last) in zip(masks, spans):
        mask[0, first:last] = True
    return Cuts.of(masks, (1, 1, width))


@pytest.mark.parametrize(
    ("before", "after", "goes"),
    [
        ((0, 10), (0, 10), True),
        ((0, 12), (4, 16), True),  # an IoU of 0.5, which is the threshold
        ((0, 11), (4, 15), False),  # 7 of 15
        ((0, 20), (8, 11), True),  # a tip
        ((0, 20), (11, 21), True),  # 9 of 10 within: a tip
        ((0, 20), (12, 21), False),  # 8 of 9
        ((8, 11), (0, 20), False),  # no tip grows like that
        ((0, 10), (10, 20), False),
        ((0, 10), (5, 5), False),
    ],
)
def test_when_an_object_goes_on(before, after, goes):
    assert goes_on(flat((0, 30), before), flat((0, 30), after), 0.5).tolist() == [True, goes]


def test_everything_that_overlaps_goes_on_without_a_threshold():
    before, after = flat((0, 10), (0, 10)), flat((9, 30), (10, 30))
    assert goes_on(before, after, 0.0).tolist() == [True, False]


def test_prompts_for_the_next_slice():
    masks = np.zeros((2, 20, 24), bool)
    masks[0, 3:10, 5:8] = masks[0, 3:6, 5:20] = True
    masks[1, 0:5, 0:5] = True
    cuts = Cuts.of(masks, (1, 20, 24))
    ask = Projection().ask(cuts)
    assert (ask.points, ask.labels) == (None, None)
    assert ask.boxes.tolist() == [[3, 5, 10, 20], [0, 0, 5, 5]]
    assert ask.before is cuts
    ask = Projection(("points",)).ask(cuts)
    assert (ask.boxes, ask.before, ask.labels.tolist()) == (None, None, [[1], [1]])
    assert ask.points[1].tolist() == [[2, 2]]
    y, x = ask.points[0, 0]
    assert masks[0, y - 1 : y + 2, x - 1 : x + 2].all()


def test_the_point_is_deepest_in_the_mask_not_in_its_box():
    """A speck in the middle of the box is no deep place."""
    masks = np.zeros((1, 21, 21), bool)
    masks[0, :7, :7] = masks[0, 10, 10] = masks[0, 20, 20] = True
    assert Projection(("points",)).ask(Cuts.of(masks, (1, 21, 21))).points.tolist() == [[[3, 3]]]


@pytest.mark.parametrize("kinds", [("box",), ("mask",), ("points",), ("box", "mask", "points")])
def test_each_kind_of_prompt_leads_on(kinds):
    ids = stacked(14)
    encoded = behind(Oracle(ids), SHAPE, projected=kinds, tile=16, halo=12)
    cuts = grown(encoded, seeded(encoded, z8=[(16, 16)]), 1.0)
    np.testing.assert_array_equal(dense(cuts)[0], ids == 1)


class Slipping(Oracle):
    """It shows something else in some slices."""

    def __init__(self, ids, slips):
        super().__init__(ids)
        self.slips = slips

    def encode(self, image, place=None):
        found = super().encode(image, place)
        return {"ids": np.zeros_like(found["ids"])} if place[0] in self.slips else found


@pytest.mark.parametrize(
    ("slips", "patience", "last"), [((), 0, 13), ((11,), 0, 10), ((11,), 1, 13), ((10, 11), 1, 9), ((10, 11), 2, 13)]
)
def test_a_slip_of_the_model_ends_no_object(slips, patience, last):
    """What lies in between is what both sides have in common."""
    ids = np.zeros(SHAPE, int)
    ids[4:14, 8:20, 8:20] = 1
    ids[12:14, 18:20] = 0
    encoded = behind(Slipping(ids, slips), SHAPE, patience=patience)
    found = dense(grown(encoded, seeded(encoded, z6=[(10, 10)]), 1.0))[0]
    wanted = ids == 1
    for z in slips:
        wanted[z] = wanted[12]  # smaller than what comes before
    wanted[last + 1 :] = False
    np.testing.assert_array_equal(found, wanted)


def test_a_tip_is_the_end_whatever_comes_after_it():
    """Of two balls with a slice between them, only what lies behind a small mask is another object."""
    ids = stacked(14)
    encoded = behind(Oracle(ids), SHAPE, patience=3, waist=0.5)
    found = dense(grown(encoded, seeded(encoded, z8=[(16, 16)]), 1.0))[0]
    np.testing.assert_array_equal(found, ids == 1)


def test_what_does_not_fit_and_goes_on_is_another_object():
    """It lies beside and below; the slice in which both are shows mostly that one, and the next one fits by chance."""
    ids = np.zeros(SHAPE, int)
    ids[4:12, 8:24, 8:24] = 1
    ids[11, 8:24, 14:34] = 2
    ids[12:20, 8:24, 10:30] = 2
    encoded = behind(Oracle(ids), SHAPE, patience=2, waist=0.0)
    found = dense(grown(encoded, seeded(encoded, z6=[(20, 20)]), 1.0))[0]
    np.testing.assert_array_equal(found[:11], ids[:11] == 1)
    assert not found[11:].any()
