"""Perfect maps give the very objects; what is wrong with maps costs no more than it has to."""

import time

import numpy as np
import pytest
from volumes.blobs import accuracy, ball, perfect, touching

from copick_tools.volumes.decoding import FULL, Decoding, Instances, Maps, decode

KINDS = ("distances", "flows", "boundary")
PLAIN = Decoding(smoothing=0.0)
SHAPES = [(20, 36, 36), (1, 60, 60)]


def first_places(ids):
    return [int(np.flatnonzero(ids == n)[0]) for n in range(1, int(ids.max()) + 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "smoothing"), [("distances", 0.0), ("distances", 1.0), ("flows", 0.0), ("flows", 1.0), ("boundary", 0.0)]
)
def test_perfect_maps_of_touching_objects(kind, shape, smoothing):
    ids = touching(shape, 8, 8.0)
    found = decode(perfect(kind, ids), Decoding(smoothing=smoothing))
    assert len(found.objects) == 9
    if kind == "boundary":  # whose voxels are shared out by distance, so that a few change sides
        assert accuracy(ids, found.ids) > 0.93
    else:
        assert accuracy(ids, found.ids) == 1.0
    np.testing.assert_array_equal(found.ids > 0, ids > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_go_by_raster_order(kind):
    found = decode(perfect(kind, touching()), PLAIN)
    places = first_places(found.ids)
    assert places == sorted(places)
    assert found.objects.tolist() == [0] + [1] * 8
    assert found.ids.dtype == np.uint32


@pytest.mark.parametrize("kind", ["distances", "flows"])
def test_noise(kind):
    rng = np.random.default_rng(0)
    ids = touching((24, 40, 40), 10, 8.0)
    maps = perfect(kind, ids)
    noisy = maps.geometry.astype(float) + rng.normal(0, 0.2 * FULL / (2 if kind == "flows" else 1), maps.geometry.shape)
    low, high = np.iinfo(maps.geometry.dtype).min, np.iinfo(maps.geometry.dtype).max
    geometry = np.clip(noisy, low, high).astype(maps.geometry.dtype)
    found = decode(Maps(kind, maps.foreground, maps.labels, geometry), Decoding(smoothing=1.0))
    assert accuracy(ids, found.ids) > 0.9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 8, 8), (1, 8, 8)])
def test_empty_maps(kind, shape):
    found = decode(perfect(kind, np.zeros(shape, int)), PLAIN)
    assert not found.ids.any()
    assert found.ids.shape == shape
    assert found.objects.tolist() == [0]
    stitching = decode(perfect(kind, np.zeros(shape, int)), Decoding(stitch=0.25))
    assert not stitching.ids.any()
    assert found.of([1, 2])[1] == {1: 0, 2: 0}


@pytest.mark.parametrize("kind", ["distances", "boundary"])
def test_objects_of_one_voxel(kind):
    ids = np.zeros((5, 6, 7), int)
    ids[1, 1, 1], ids[3, 4, 5], ids[4, 1, 6] = 1, 2, 3
    np.testing.assert_array_equal(decode(perfect(kind, ids), PLAIN).ids, ids)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_fills_most_of_the_volume(kind):
    ids = np.ones((16, 20, 20), int)
    ids[:1] = 0
    ids[:, 3:5, 6:8] = 0
    assert ids.mean() > 0.9
    np.testing.assert_array_equal(decode(perfect(kind, ids), PLAIN).ids, ids)
    full = np.ones((6, 8, 8), int)
    np.testing.assert_array_equal(decode(perfect(kind, full), PLAIN).ids, full)


@pytest.mark.parametrize("kind", KINDS)
def test_limits_and_the_largest_share(kind):
    ids = np.zeros((20, 40, 40), int)
    ids[ball(ids.shape, (10, 10, 10), 8)], ids[ball(ids.shape, (10, 28, 28), 5)] = 1, 2
    large, small = (ids == 1).sum(), (ids == 2).sum()
    maps = perfect(kind, ids)

    def sizes(**how):
        return np.bincount(decode(maps, Decoding(smoothing=0.0, **how)).ids.ravel())[1:].tolist()

    assert sizes() == [large, small]
    assert sizes(limits=(small + 1, np.inf)) == [large]
    assert sizes(limits=(small, large - 1)) == [small]
    assert sizes(most=large / ids.size) == [large, small]
    assert sizes(most=(large - 1) / ids.size) == [small]


def test_flow_error_drops_what_is_planted():
    ids = np.pad(touching((20, 36, 36), 6, 8.0), [(0, 0), (0, 0), (0, 22)])
    wrong = ball(ids.shape, (10, 18, 47), 8)
    ids[wrong] = 7
    maps = perfect("flows", ids)
    maps.geometry[:, wrong] = np.array([0, 0, 127])[:, None]  # all one way
    maps.geometry[:, ids == 5] = maps.geometry[:, ids == 5] // 2  # unsure, but right
    kept = decode(maps, Decoding(smoothing=0.0, flow_error=0.4))
    assert not (kept.ids[wrong] > 0).any()
    assert accuracy(np.where(wrong, 0, ids), kept.ids) == 1.0
    every = decode(maps, Decoding(smoothing=0.0, flow_error=None))
    assert (every.ids[wrong] > 0).any()
    assert len(decode(maps, Decoding(smoothing=0.0, flow_error=1e-6)).objects) < len(kept.objects)


def test_scraps_beside_an_object_do_not_count_as_its_shape():
    ids = np.zeros((5, 5, 24), int)
    ids[:, :, 2:7] = 1
    maps = perfect("flows", ids)
    scrap = np.zeros(ids.shape, bool)
    scrap[:, :, 8:12] = True
    maps.foreground[scrap], maps.labels[scrap], maps.geometry[2][scrap] = FULL, 1, -127
    found = decode(maps, Decoding(smoothing=0.0, distance=5.0))
    np.testing.assert_array_equal(found.ids, ids)


@pytest.mark.parametrize("kind", KINDS)
def test_voxels_vote(kind):
    ids = np.zeros((12, 20, 60), int)
    for number, x in enumerate((9, 29, 49), 1):
        ids[ball(ids.shape, (6, 10, x), 5.5)] = number
    rng = np.random.default_rng(0)
    shares = {1: {7: 0.6, 2: 0.4}, 2: {0: 0.6, 7: 0.4}, 3: {2: 1.0}}
    labels = np.zeros(ids.shape, np.uint8)
    for number, share in shares.items():
        labels[ids == number] = rng.choice(list(share), (ids == number).sum(), p=list(share.values()))
    maps = perfect(kind, ids)
    found = decode(Maps(kind, maps.foreground, labels, maps.geometry), PLAIN)
    assert found.objects.tolist() == [0, 7, 2]
    np.testing.assert_array_equal(found.ids, np.array([0, 1, 0, 2])[ids])  # the background wins the second
    numbers, counts = found.of([2, 5, 7])
    assert counts == {2: 1, 5: 0, 7: 1}
    assert numbers.tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_not_cut(kind):
    ids = touching((20, 36, 36), 6, 8.0)
    labels = np.where(np.isin(ids, [2, 3]), 4, ids > 0)
    found = decode(perfect(kind, ids, labels), Decoding(smoothing=0.0, networks=(4,)))
    import cc3d

    pieces = cc3d.connected_components(labels == 4, connectivity=26)
    assert (found.objects == 4).sum() == pieces.max()
    assert accuracy(pieces, np.where(labels == 4, found.ids, 0)) == 1.0
    places = first_places(found.ids)
    assert places == sorted(places)


def test_fragments_of_networks_hang_together():
    labels = np.zeros((3, 3, 20), np.uint8)
    labels[1, 1, :8] = labels[1, 1, 10:18] = 4
    maps = Maps("boundary", np.where(labels, FULL, 0).astype(np.uint8), labels, np.zeros((1, 3, 3, 20), np.uint8))
    assert decode(maps, Decoding(networks=(4,))).objects.tolist() == [0, 4, 4]
    assert decode(maps, Decoding(networks=(4,), join=4.0)).objects.tolist() == [0, 4]
    assert decode(maps, Decoding(networks=(4,), limits=(9, np.inf))).objects.tolist() == [0]
    assert decode(maps, Decoding(networks=(4,), most=7 / 180)).objects.tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [4, 0])
def test_holes_in_an_instance_are_filled(kind, noise):
    """Voxels inside that are said to be of a network, or of nothing, belong to the instance."""
    ids = ball((20, 30, 30), (10, 15, 15), 8).astype(int)
    maps = perfect(kind, ids)
    hole = np.zeros(ids.shape, bool)
    hole[(12, 15, 17) if kind == "flows" and not noise else np.s_[12, 15:17, 17:19]] = True  # ways end in background
    maps.labels[hole] = noise
    maps.foreground[hole] = FULL if noise else 0
    found = decode(maps, Decoding(smoothing=0.0, networks=(4,)))
    np.testing.assert_array_equal(found.ids, ids)
    assert found.objects.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["flows", "boundary"])
def test_what_is_inside_of_a_shell_has_no_vote_and_no_size(kind):
    """A shell around another instance, and one around nothing: most voxels within are background."""
    z, y, x = 24, 50, 24
    ids = np.zeros((z, y, x), int)
    for number, middle in ((1, 12), (2, 37)):
        ids[ball(ids.shape, (12, middle, 12), 10.3) & ~ball(ids.shape, (12, middle, 12), 7)] = number
    ids[:, :, 0] = 0
    core = ball(ids.shape, (12, 12, 12), 7)
    labels = np.where(ids > 0, 5, 0)
    labels[core] = 6
    ids[core] = 3
    shell = (ids == 1).sum()
    how = Decoding(smoothing=0.0, flow_error=None, limits=(1, 1.2 * max(shell, core.sum())))
    found = decode(perfect(kind, np.where(ids == 2, 0, ids), np.where(ids == 2, 0, labels)), how)
    assert sorted(found.objects.tolist()) == [0, 5, 6]
    alone = decode(perfect(kind, ids, labels), Decoding(smoothing=0.0, flow_error=None))
    assert sorted(alone.objects.tolist()) == [0, 5, 5, 6]


def test_a_ring_one_slice_thick_has_no_hole():
    away = np.hypot(*np.ogrid[-10:11, -10:11])
    ids = np.zeros((5, 21, 21), int)
    ids[2] = (away > 5) & (away < 9)
    np.testing.assert_array_equal(decode(perfect("boundary", ids), PLAIN).ids, ids)
    flat = decode(perfect("boundary", ids[2:3]), PLAIN).ids
    assert flat[0, 10, 10] == 1


def test_an_instance_is_in_one_piece():
    ids = np.zeros((3, 5, 40), int)
    ids[:, :, 2:14] = 1
    maps = perfect("flows", ids)
    ids[:, :, 16:19] = 1
    maps = Maps("flows", np.where(ids, FULL, 0).astype(np.uint8), ids.astype(np.uint8), maps.geometry)
    maps.geometry[2, :, :, 10:19] = -127  # all of it flows to the first
    found = decode(maps, Decoding(smoothing=0.0, flow_error=None)).ids
    assert (found[:, :, 2:14] == 1).all()
    assert not (found[:, :, 16:19] == 1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_slices_are_stitched(kind):
    columns = np.repeat(touching((1, 48, 48), 8, 8.0), 5, axis=0)
    planes = [perfect(kind, columns[:1])] * 5
    stacked = Maps(
        kind, *(np.concatenate([getattr(p, part) for p in planes], axis=axis) for part, axis in PARTS.items())
    )
    found = decode(stacked, Decoding(smoothing=1.0 if kind == "flows" else 0.0, stitch=0.25))
    assert len(found.objects) == 9
    assert accuracy(columns, found.ids) > (0.93 if kind == "boundary" else 0.999)


PARTS = {"foreground": 0, "labels": 0, "geometry": 1}


@pytest.mark.slow
def test_seventy_thousand_objects():
    ids = np.zeros((66, 99, 99), np.uint32)
    places = np.stack(np.meshgrid(*(np.arange(side) for side in (33, 49, 49)), indexing="ij"), -1).reshape(-1, 3)[
        :70_000
    ]
    ids[tuple(2 * places.T)] = 1 + np.arange(70_000)
    started = time.process_time()
    found = decode(perfect("distances", ids), PLAIN)
    assert time.process_time() - started < 60
    assert len(found.objects) == 70_001
    np.testing.assert_array_equal(found.ids, ids)
    numbers, counts = found.of([1])
    assert counts == {1: 70_000}
    assert numbers[-1] == 70_000


def test_thresholds_of_the_foreground():
    ids = np.zeros((1, 4, 8), int)
    ids[..., 2:6] = 1
    maps = perfect("boundary", ids)
    maps.foreground[ids > 0] = 128
    assert decode(maps, Decoding(foreground=0.5)).ids.any()
    assert not decode(maps, Decoding(foreground=0.51)).ids.any()
    maps.foreground[:] = 200
    maps.labels[:] = 0  # sure that it is something, and of nothing in particular
    assert not decode(maps, PLAIN).ids.any()


def test_instances_of_no_such_object():
    found = Instances(np.array([[[1, 2, 3]]]), np.array([0, 5, 2, 5]))
    numbers, counts = found.of([5, 9])
    assert numbers.tolist() == [0, 1, 0, 2]
    assert counts == {5: 2, 9: 0}


def test_a_network_that_fills_the_volume():
    labels = np.full((4, 5, 6), 5)
    found = decode(perfect("distances", np.ones_like(labels), labels), Decoding(networks=(5,)))
    assert found.objects.tolist() == [0, 5]
    assert (found.ids == 1).all()


@pytest.mark.parametrize("kind", ["distances", "boundary"])
def test_a_network_within_an_instance_stays(kind):
    """A tube that another object encloses is no hole in it."""
    ids = ball((20, 30, 30), (10, 15, 15), 9).astype(int)
    maps = perfect(kind, ids)
    tube = np.zeros(ids.shape, bool)
    tube[9:12, 14:17, 10:20] = True
    maps.labels[tube] = 4
    found = decode(maps, Decoding(networks=(4,)))
    assert sorted(found.objects.tolist()) == [0, 1, 4]
    assert (found.objects[found.ids] == np.where(tube, 4, ids)).all()
