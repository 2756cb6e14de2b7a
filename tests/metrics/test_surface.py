import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from copick_tools.metrics.surface import halo, surface_counts, surface_dice
from copick_tools.volumes.blocks import blocks

quick = settings(deadline=None, derandomize=True, max_examples=25)


def blobs(seed, shape=(7, 9, 10)):
    rng = np.random.default_rng(seed)
    return [ndimage.gaussian_filter(rng.random(shape), 1) > 0.5 for _ in range(2)]


def naive_surface(volume, mask):
    found = []
    for index in np.argwhere(volume & mask):
        for step in np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)]):
            at = tuple(index + step)
            inside = all(0 <= a < length for a, length in zip(at, volume.shape))
            if inside and mask[at] and not volume[at]:
                found.append(index)
                break
    return np.array(found).reshape(-1, 3)


def naive(reference, prediction, spacing, tolerance, mask):
    one, other = naive_surface(reference, mask), naive_surface(prediction, mask)
    distances = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1)) * spacing
    near = distances <= tolerance + 1e-6
    return [len(one), int(near.any(1).sum()), len(other), int(near.any(0).sum())]


@quick
@given(st.integers(0, 10**6), st.sampled_from([0.0, 9.9, 10.0, 14.2, 20.0, 35.0]), st.booleans())
def test_counts_equal_naive_ones(seed, tolerance, partly):
    reference, prediction = blobs(seed)
    mask = np.random.default_rng(seed).random(reference.shape) < (0.8 if partly else 1)
    found = surface_counts(reference, prediction, 10.0, tolerance, mask=mask if partly else None)
    assert found.tolist() == naive(reference, prediction, 10.0, tolerance, mask)


@quick
@given(st.integers(0, 10**6), st.sampled_from([0.0, 13.48, 26.96, 50.0]), st.integers(2, 7), st.booleans())
def test_blocks_add_up_to_the_whole(seed, tolerance, size, partly):
    reference, prediction = blobs(seed, (9, 14, 11))
    mask = np.random.default_rng(seed).random(reference.shape) < 0.9 if partly else None
    width = halo(13.48, tolerance)
    parts = [
        surface_counts(
            reference[b.outer],
            prediction[b.outer],
            13.48,
            tolerance,
            b.local,
            None if mask is None else mask[b.outer],
        )
        for b in blocks(reference.shape, width, size)
    ]
    assert len(parts) > 1
    assert (sum(parts) == surface_counts(reference, prediction, 13.48, tolerance, mask=mask)).all()


@quick
@given(st.integers(0, 10**6))
def test_identity_symmetry_and_tolerance(seed):
    reference, prediction = blobs(seed)
    counts = surface_counts(reference, prediction, 10.0, 10.0)
    assert surface_dice(surface_counts(reference, reference, 10.0, 0.0)) == 1
    assert surface_counts(prediction, reference, 10.0, 10.0).tolist() == counts[[2, 3, 0, 1]].tolist()
    rising = [surface_dice(surface_counts(reference, prediction, 10.0, t)) for t in (0, 10, 15, 20, 40, 300)]
    assert rising == sorted(rising)
    assert rising[-1] == 1


def test_the_tolerance_is_closed_whatever_the_spacing():
    plane = np.zeros((9, 4, 4), bool)
    plane[3] = True
    for spacing in (10.012, 13.48, 7.84, 1 / 3):
        moved = np.roll(plane, 2, axis=0)
        assert surface_counts(plane, moved, spacing, 2 * spacing).tolist() == [16, 16, 16, 16]
        assert surface_counts(plane, moved, spacing, 1.99 * spacing).tolist() == [16, 0, 16, 0]
    assert surface_counts(plane, np.roll(plane, 2, axis=0), 10.012, 20.024).tolist() == [16, 16, 16, 16]


def test_faces_of_the_volume_are_no_surface():
    half = np.zeros((6, 5, 5), bool)
    half[:3] = True
    assert surface_counts(half, half, 1.0, 0.0).tolist() == [25, 25, 25, 25]
    everything = np.ones((6, 5, 5), bool)
    counts = surface_counts(everything, everything, 1.0, 0.0)
    assert counts.tolist() == [0, 0, 0, 0]
    assert np.isnan(surface_dice(counts))


def test_nor_are_edges_of_what_is_annotated():
    half = np.zeros((6, 5, 5), bool)
    half[:3] = True
    assert surface_counts(
        half, half, 1.0, 0.0, mask=np.arange(6)[:, None, None] + np.zeros((6, 5, 5)) != 3
    ).tolist() == [
        0,
        0,
        0,
        0,
    ]


def test_one_side_empty():
    ball = np.zeros((5, 5, 5), bool)
    ball[2, 2, 2] = True
    counts = surface_counts(ball, np.zeros_like(ball), 1.0, 3.0)
    assert counts.tolist() == [1, 0, 0, 0]
    assert surface_dice(counts) == 0
    assert np.isnan(surface_dice(surface_counts(ball & False, ball & False, 1.0, 3.0)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reference": np.zeros((2, 2), bool)}, "three|zyx"),
        ({"reference": np.zeros((2, 2, 3), bool)}, "zyx"),
        ({"prediction": np.zeros((2, 2, 2), int)}, "`prediction` to be bool"),
        ({"mask": np.zeros((2, 2, 1), bool)}, "`mask` to have shape"),
        ({"voxel_spacing": 0.0}, "`voxel_spacing`"),
        ({"voxel_spacing": float("nan")}, "`voxel_spacing`"),
        ({"tolerance": -1.0}, "`tolerance`"),
        ({"tolerance": float("inf")}, "`tolerance`"),
    ],
)
def test_wrong_arguments(changed, message):
    box = np.zeros((2, 2, 2), bool)
    with pytest.raises(ValueError, match=message):
        surface_counts(**{"reference": box, "prediction": box, "voxel_spacing": 1.0, "tolerance": 1.0, **changed})
