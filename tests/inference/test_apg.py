"""Automatic prompt generation: by an oracle and a network that is right it is perfect, and each of its steps does something."""

from dataclasses import replace

import numpy as np
import pytest
from inference.asking import Counting, Planned, Right, Silent, behind, between, noise, prompted
from volumes.blobs import accuracy, ball, touching

from copick_tools.errors import UsageError
from copick_tools.inference import apg
from copick_tools.inference.prompted import Prompted
from copick_tools.recipes.prompting import Apg, Prompting
from copick_tools.volumes.decoding import Decoding, decode

SOLID = touching((24, 40, 40), 8, 8.0, seed=0)
PLANE = touching((24, 64, 60), 40, 8.0, seed=3)[12:13]
EVERYTHING = Decoding()


@pytest.mark.parametrize("space", ["volume", "slices"])
@pytest.mark.parametrize("prompts", ["components", "maxima"])
def test_perfect_in_a_plane(space, prompts):
    found = prompted(PLANE, mode="apg", space=space, apg=Apg(prompts=prompts, min_size=0)).instances(
        noise(PLANE.shape), EVERYTHING
    )
    assert len(np.unique(PLANE)) > 12
    assert accuracy(PLANE, found.ids) == 1.0
    assert set(found.objects.tolist()) == {0, 1}


@pytest.mark.parametrize("prompts", ["components", "maxima"])
@pytest.mark.parametrize("tiling", [{}, {"tile": 24, "halo": 17, "batch_size": 5}])
def test_perfect_in_a_volume(prompts, tiling):
    made = prompted(SOLID, mode="apg", apg=Apg(prompts=prompts), **tiling)
    assert accuracy(SOLID, made.instances(noise(SOLID.shape), EVERYTHING).ids) == 1.0


def test_slices_of_a_network_that_sees_slices():
    """Each object is one piece in each slice, and its slices overlap: what was published, put together, is perfect as well."""
    ids = np.repeat(np.repeat(np.arange(1, 7).reshape(1, 2, 3), 12, axis=1), 10, axis=2)
    ids = np.where(ball((9, 24, 30), (4, 12, 15), (5, 13, 17)), np.repeat(ids, 9, axis=0), 0)

    class Sliced(Right):
        def __init__(self, ids):
            planes = [Right(plane[None]).said for plane in ids]
            join = {part: np.concatenate([getattr(p, part) for p in planes]) for part in ("foreground", "labels")}
            whole = np.concatenate([p.geometry for p in planes], axis=1)
            self.geometry, self.said = Right(ids[:1]).geometry, replace(planes[0], **join, geometry=whole)

    made = prompted(ids, Sliced(ids), mode="apg", space="slices", apg=Apg(min_size=0))
    assert accuracy(ids, made.instances(noise(ids.shape), EVERYTHING).ids) == 1.0


def test_a_mask_is_whole_where_the_network_saw_little_of_it():
    """Its voxels are background for the most part, as the network has it; what the model says counts, and the label of the rest."""
    right = Right(SOLID)
    seen = (right.said.geometry[1] < 140) & (SOLID > 0)
    assert seen.sum() < 0.4 * (SOLID > 0).sum()
    labels = np.where(seen, 1 + SOLID % 2, 0).astype(np.uint8)
    right.said = replace(right.said, foreground=np.where(seen, 255, 0).astype(np.uint8), labels=labels)
    made = prompted(SOLID, right, mode="apg", apg=Apg(min_size=0))
    found = made.instances(noise(SOLID.shape), EVERYTHING)
    assert accuracy(SOLID, found.ids) == 1.0
    there = found.ids > 0
    np.testing.assert_array_equal(found.objects[found.ids][there], 1 + SOLID[there] % 2)


def test_several_prompts_for_an_object_make_one_mask():
    """Where thresholds break objects into many seeds the watershed breaks them, and prompts don't (section 3.2)."""
    rng, right = np.random.default_rng(0), Right(SOLID)
    geometry = np.clip(right.said.geometry + rng.normal(0, 40, right.said.geometry.shape), 0, 255).astype(np.uint8)
    right.said = replace(right.said, geometry=geometry)
    model = Counting(SOLID)
    found = prompted(SOLID, right, model, mode="apg").instances(noise(SOLID.shape), EVERYTHING).ids
    assert accuracy(SOLID, decode(right.said, EVERYTHING).ids) < 0.8
    assert accuracy(SOLID, found) == 1.0
    assert sum(model.asked) > 2 * 8 * 24  # far more than one prompt for each object and slice


def test_tiles_with_a_halo_change_nothing():
    for space in ("volume", "slices"):
        whole, tiled = (
            prompted(SOLID, mode="apg", space=space, **tiling).instances(noise(SOLID.shape), EVERYTHING).ids
            for tiling in ({}, {"tile": 16, "halo": 18})
        )
        np.testing.assert_array_equal(whole, tiled)
    cut = prompted(SOLID, mode="apg", tile=16).instances(noise(SOLID.shape), EVERYTHING).ids
    assert (cut != whole).any()


def bar(first, last, length=60, height=1.0):
    """(1, 1, length) logits of what lies between two columns."""
    logits = np.full((1, 1, length), -9.0)
    logits[..., first:last] = height
    return logits


def ids_of(plan, **how):
    """What is found of planned masks, by the columns of their prompts."""
    encoded = behind(Planned({(0, column): planned for column, planned in plan.items()}), (1, 1, 60))
    return apg.in_slice(encoded, 0, np.array([(0, column) for column in plan]), Apg(**how))[0]


def test_a_mask_has_to_be_larger_than_the_least_size():
    plan = {2: (bar(0, 25), [0.9]), 40: (bar(30, 56), [0.9])}
    assert np.unique(ids_of(plan)).tolist() == [0, 1]
    assert (ids_of(plan)[30:56] == 1).all()
    assert np.unique(ids_of(plan, min_size=24)).tolist() == [0, 1, 2]
    assert not ids_of(plan, min_size=26).any()


def test_masks_that_overlap_more_than_the_threshold():
    plan = {2: (bar(0, 40), [0.8]), 3: (bar(0, 36), [0.9])}  # an IoU of 0.9
    both = ids_of(plan)
    assert ((both[:36] == 1).all(), (both[36:40] == 2).all()) == (True, True)
    one = ids_of(plan, nms=0.89)
    assert ((one[:36] == 1).all(), one[36:].any()) == (True, False)


def test_small_masks_suppress_nothing():
    """The size filter comes before suppression (steps 6 and 7)."""
    plan = {2: (bar(0, 25), [0.9]), 3: (bar(0, 27), [0.5])}
    assert np.count_nonzero(ids_of(plan)) == 27
    assert np.count_nonzero(ids_of(plan, min_size=24)) == 25


def test_what_masks_are_ranked_by():
    """One has the higher IoU, the other one is more stable: 0.9 * 30/38 against 0.8 * 1."""
    loose = bar(0, 30)
    loose[..., 30:38] = -0.5  # outside, but for a lower threshold
    loose[..., :30] = 5
    plan = {2: (loose, [0.9]), 3: (bar(0, 32, height=5.0), [0.8])}
    for score, offset, pixels in (("iou", 1.0, 30), ("iou*stability", 1.0, 32), ("iou*stability", 0.2, 30)):
        assert np.count_nonzero(ids_of(plan, score=score, stability_offset=offset)) == pixels
    cuts = behind(Planned({(0, 2): plan[2]}), (1, 1, 60)).asked(0, apg.Ask.on(np.array([[0, 2]])), offset=1.0)
    assert apg.ranking(cuts, Apg()).tolist() == [0.9]
    assert apg.ranking(cuts, Apg(score="iou*stability")) == pytest.approx(0.9 * 30 / 38)


def test_no_prompts_at_all():
    for space in ("volume", "slices"):
        nothing = np.zeros((3, 8, 9), int)
        found = prompted(nothing, mode="apg", space=space).instances(noise(nothing.shape), EVERYTHING)
        assert (found.ids.max(), found.objects.tolist()) == (0, [0])


def test_the_networks_thresholds_say_where_to_ask():
    for how in (Decoding(foreground=1.01), Decoding(center=0.0), Decoding(boundary=0.0)):
        model = Counting(SOLID)
        assert prompted(SOLID, model=model, mode="apg").instances(noise(SOLID.shape), how).ids.max() == 0
        assert model.asked == []


def test_a_sample_restricts_prompts():
    inside = between(SOLID.shape, 8, 15)
    model = Counting(SOLID)
    found = prompted(SOLID, model=model, mode="apg", space="slices").instances(noise(SOLID.shape), EVERYTHING, inside)
    assert set(model.encoded) <= set(range(8, 16))
    assert not found.ids[:8].any()
    assert not found.ids[16:].any()
    assert found.ids[8:16].any()


def test_networks_of_the_task_are_not_prompted_for():
    """An object that isn't cut is taken from the labels; the oracle would have given it in two parts."""
    ids = np.where(SOLID > 4, SOLID, 0)
    labels = np.where(SOLID > 4, 1, np.where(SOLID > 0, 5, 0)).astype(np.uint8)
    right = Right(SOLID)
    right.said = replace(right.said, labels=labels)
    model = Counting(SOLID)
    found = prompted(SOLID, right, model, mode="apg").instances(noise(SOLID.shape), Decoding(networks=(5,)))
    assert sum(model.asked) > 0
    np.testing.assert_array_equal(np.isin(found.ids, np.flatnonzero(found.objects == 5)), labels == 5)
    assert accuracy(ids, np.where(labels == 5, 0, found.ids)) == 1.0


@pytest.mark.parametrize(
    ("made", "words", "hint"),
    [
        (prompted(SOLID, Right(SOLID, "flows"), mode="apg"), "the network learned flows", "target.kind distances"),
        (prompted(SOLID, Silent(), mode="apg"), "this model doesn't predict", "prompting.mode=amg"),
        (prompted(SOLID, mode="apg", follow="memory"), "no memory", "prompting.follow=projection"),
        (
            replace(prompted(SOLID, mode="apg", follow="memory", tile=16), follower=object()),
            "prompting.tile cuts them",
            "leave the tile out",
        ),
    ],
)
def test_what_it_can_not_do_is_said(made, words, hint):
    with pytest.raises(UsageError, match=words) as raised:
        made.instances(noise(SOLID.shape), EVERYTHING)
    assert hint in raised.value.hint


def test_it_says_what_its_network_says():
    made: Prompted = prompted(SOLID)
    assert (made.objects, made.voxel_spacing, made.normalize, made.mapping) == ({"cell": 1}, 10.0, 0.0, True)
    assert not replace(made, network=Silent()).mapping
    assert Prompting().mode is None
