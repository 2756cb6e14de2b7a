"""Points to ask at, against a literal reading of the papers."""

import numpy as np
import pytest
from scipy import ndimage

from copick_tools.volumes.prompts import component_prompts, deepest, grid_prompts, maxima_prompts, stability

SHAPES = [(23, 31), (9, 14, 17)]


def smooth(shape, seed):
    """Values in [0, 1] that change slowly, so that components are large and of many forms."""
    found = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.9)
    return (found - found.min()) / np.ptp(found)


def inside_distance(mask):
    """From each pixel to the next one that isn't in the mask, or outside of the image."""
    return ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("thresholds", [(0.5, 0.5, 0.5), (0.55, 0.45, 0.6)])
def test_components_as_the_paper_says(shape, seed, thresholds):
    """Steps 2 to 4: thresholds, components of the intersection, the maximum of the boundary distance transform of each."""
    fg, center, boundary = (smooth(shape, 10 * seed + k) for k in range(3))
    seeds = (fg >= thresholds[0]) & (center < thresholds[1]) & (boundary < thresholds[2])
    numbered, count = ndimage.label(seeds)  # by faces
    found = component_prompts(fg, center, boundary, thresholds)
    assert found.shape == (count, len(shape))
    assert count > 1
    assert sorted(numbered[tuple(found.T)]) == list(range(1, count + 1))
    for place in found:
        own = numbered == numbered[tuple(place)]
        depth = inside_distance(own)
        assert depth[tuple(place)] == pytest.approx(depth[own].max())


def test_thresholds_that_are_exactly_met():
    """The foreground may be its threshold, distances may not."""
    one = np.ones((5, 5))
    assert len(component_prompts(0.5 * one, 0 * one, 0 * one)) == 1
    assert len(component_prompts(0.499 * one, 0 * one, 0 * one)) == 0
    assert len(component_prompts(one, 0.5 * one, 0 * one)) == 0
    assert len(component_prompts(one, 0 * one, 0.5 * one)) == 0


def test_no_seeds_no_prompts():
    for shape in SHAPES:
        nothing, all_of_it = np.zeros(shape), np.ones(shape)
        assert component_prompts(nothing, nothing, nothing).shape == (0, len(shape))
        assert maxima_prompts(nothing, nothing).shape == (0, len(shape))
        assert maxima_prompts(all_of_it, all_of_it).shape == (0, len(shape))
        assert deepest(np.zeros(shape, bool)).shape == (0, len(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_maxima_of_the_boundary_distance(shape, seed):
    """A pixel that no neighbor exceeds is a maximum; those of a plateau are one prompt, on one of its pixels."""
    fg, boundary = smooth(shape, seed), np.round(smooth(shape, seed + 50), 1)  # plateaus
    inside = (fg >= 0.4) & (boundary < 0.6)
    depth = np.where(inside, 1 - boundary, 0.0)
    steps = np.ones((3,) * len(shape))
    level, count = np.zeros(shape, int), 0
    for value in np.unique(depth[inside]):
        parts, number = ndimage.label(depth == value, steps)
        for part in range(1, number + 1):
            own = parts == part
            around = ndimage.binary_dilation(own, steps) & ~own
            if not around.any() or depth[around].max() < value:
                count += 1
                level[own] = count
    found = maxima_prompts(fg, boundary, (0.4, 0.6))
    assert count > 3
    assert sorted(level[tuple(found.T)]) == list(range(1, count + 1))


def test_an_object_that_fills_the_image_has_a_maximum():
    for shape in SHAPES:
        found = maxima_prompts(np.ones(shape), np.full(shape, 0.2))
        assert len(found) == 1
        assert inside_distance(np.ones(shape))[tuple(found[0])] == (min(shape) + 1) // 2


def test_bytes_give_the_same_prompts():
    fg, center, boundary = (np.round(255 * smooth((30, 40), seed)).astype(np.uint8) for seed in range(3))
    scaled = component_prompts(fg / 255, center / 255, boundary / 255)
    np.testing.assert_array_equal(component_prompts(fg, center, boundary, (127.5, 127.5, 127.5)), scaled)
    np.testing.assert_array_equal(
        maxima_prompts(fg, boundary, (127.5, 127.5), 255.0), maxima_prompts(fg / 255, boundary / 255)
    )


def test_a_prompt_lies_on_its_object_and_off_the_images_edge():
    """Also where the middle of its box doesn't, and where the object runs on beyond the image."""
    ring = np.zeros((21, 21), bool)
    ring[2:19, 2:19] = True
    ring[5:16, 5:16] = False
    assert ring[tuple(deepest(ring)[0])]
    cut_off = np.zeros((9, 20), bool)
    cut_off[:, :9] = True
    assert deepest(cut_off).tolist() == [[4, 4]]


@pytest.mark.parametrize(("size", "per_side"), [((64, 64), 4), ((50, 131), 7), ((3, 9), 5), ((1, 1), 32)])
def test_the_grid_is_segment_anythings(size, per_side):
    """Points at (k + 0.5) / n of each side; where a side has fewer pixels, each pixel once."""
    found = grid_prompts(size, per_side)
    for axis, side in enumerate(size):
        wanted = {int((k + 0.5) / per_side * side) for k in range(per_side)}
        assert set(found[:, axis].tolist()) == wanted
    assert len(np.unique(found, axis=0)) == len(found) == np.prod([min(side, per_side) for side in size])


@pytest.mark.parametrize("offset", [0.5, 1.0, 3.0])
def test_stability_computed_directly(offset):
    logits = np.random.default_rng(0).normal(0, 2, (4, 3, 12, 15))
    logits[0, 0], logits[0, 1], logits[0, 2] = -10, 10, -offset  # nothing, everything, at the threshold
    found = stability(logits, offset)
    assert found.shape == (4, 3)
    for place in np.ndindex(4, 3):
        strict, loose = logits[place] > offset, logits[place] > -offset
        union = (strict | loose).sum()
        assert found[place] == ((strict & loose).sum() / union if union else 0)
    assert found[0].tolist() == [0, 1, 0]
