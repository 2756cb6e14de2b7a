"""Components are the paper's label propagation; instances are the same however the volume is cut; odd volumes work."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak
from scipy import ndimage

from copick_tools.volumes import components as measuring
from copick_tools.volumes import merging, packed, relief
from copick_tools.volumes.linked import ANY
from copick_tools.volumes.semantic_instances import Panoptic, Way, convert, present

ALL = (0, np.inf)
FAST = settings(deadline=None, derandomize=True, max_examples=25)


def components(connectivity=26, limits=ALL, join=0.0):
    return Way("network" if join else "components", connectivity, limits, join=join)


def watershed(connectivity=26, limits=ALL, neck=0.7, depth=1.0, distance=0.0):
    return Way("watershed", connectivity, limits, neck=neck, depth=depth, distance=distance)


def bounded(connectivity=26, clearance=0.0):
    return Way("bounded", connectivity, ALL, threshold=0.5, clearance=clearance)


def whole(labels, ways, boundaries=None, **more):
    """All ids, the counts."""
    found = convert(labels, ways, boundaries, **more)
    return found[:, :, :], found.counts


def random(seed, shape=(9, 10, 11), density=0.4, labels=2):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, labels + 1, shape).astype(np.uint8)
    values[rng.random(shape) >= density] = 0
    return values


def blobs(seed, shape, level=0.0):
    """A mask of smooth noise."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.3)
    return (noise > level * noise.std()).astype(np.uint8)


def balls(shape, *centers_and_radii):
    grid = np.indices(shape)
    found = np.zeros(shape, bool)
    for *center, radius in centers_and_radii:
        found |= sum((axis - c) ** 2 for axis, c in zip(grid, center)) <= radius**2
    return found.astype(np.uint8)


# ---- components are 3D LPA ------------------------------------------------------------------------------------------
def lpa(labels, connectivity, aware):
    """3D LPA as it is written (section 3.2): each voxel takes the least label around it until nothing changes."""
    most = {6: 1, 18: 2, 26: 3}[connectivity]
    around = [step for step in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) <= most]
    uid = np.where(labels > 0, np.arange(1, labels.size + 1).reshape(labels.shape), 0)
    padded = np.pad(labels, 1)
    while True:
        before, spread = uid, np.pad(uid, 1)
        for step in around:
            there = tuple(slice(1 + s, 1 + s + length) for s, length in zip(step, labels.shape))
            adjacent = (padded[there] > 0) & (labels > 0)
            if aware:
                adjacent &= padded[there] == labels
            uid = np.where(adjacent, np.minimum(uid, spread[there]), uid)
        if (uid == before).all():
            return uid


@FAST
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.3, 0.6]),
    st.sampled_from([6, 18, 26]),
    st.booleans(),
    st.sampled_from([3, 5, 256]),
)
def test_components_are_label_propagation(seed, density, connectivity, aware, chunk):
    labels = random(seed, (6, 7, 8), density)
    way = components(connectivity)
    found, counts = whole(labels, {1: way, 2: way}, aware=aware, chunk=chunk)
    representative = lpa(labels, connectivity, aware)
    for label in (1, 2) if aware else (ANY,):
        own = labels == label if aware else labels > 0
        names, expected = np.unique(representative[own], return_inverse=True)
        np.testing.assert_array_equal(found[own], expected.reshape(-1) + 1)  # numbered as the paper's labels are
        assert counts[label] == len(names)
    assert not found[labels == 0].any()


def test_without_classes_touching_organelles_are_one():
    labels = np.array([[[1, 2, 0, 2]]], np.uint8)
    ways = {1: components(), 2: components()}
    assert whole(labels, ways)[0].tolist() == [[[1, 1, 0, 2]]]
    assert whole(labels, ways, aware=False)[0].tolist() == [[[1, 1, 0, 2]]]
    assert whole(labels, ways, aware=False)[1] == {ANY: 2}
    assert whole(labels, ways)[1] == {1: 1, 2: 2}
    with pytest.raises(ValueError, match="as one"):
        convert(labels, {1: components(), 2: components(6)}, aware=False)


# ---- blocks change nothing ------------------------------------------------------------------------------------------
@pytest.fixture
def short(monkeypatch):
    """Distances are told up to three voxels: then halos are shorter than small volumes."""
    monkeypatch.setattr(relief, "CAP", 3)
    for module in (relief, merging):
        monkeypatch.setattr(module, "SURFACE", 9)


WAYS = {
    "components": components(18),
    "network": components(6, join=2.5),
    "watershed": watershed(),
    "watershed, 6": watershed(6, neck=0.9, depth=0.3),
    "watershed, apart": watershed(18, depth=0.3, distance=5),
    "bounded": bounded(),
    "bounded, gaps": bounded(6, clearance=1.5),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("far", [False, True])
def test_blocks_change_nothing(name, far, request):
    if not far:
        request.getfixturevalue("short")
    for seed in range(2):
        shape = tuple(np.random.default_rng(seed).integers(7, 17, 3))
        labels = blobs(seed, shape, -0.4) + blobs(seed + 50, shape)  # 1 and 2 touch
        boundaries = dict.fromkeys((1, 2), blobs(seed + 100, shape, 0.6) > 0)
        ways = {1: WAYS[name], 2: WAYS[name]}
        expected, counts = whole(labels, ways, boundaries)
        for chunk in (4, 7):
            found, again = whole(labels, ways, boundaries, chunk=chunk)
            np.testing.assert_array_equal(found, expected)
            assert again == counts


def test_parts_are_those_of_the_whole():
    labels = random(3, (13, 14, 15))
    found = convert(labels, {1: components(), 2: watershed()}, chunk=4)
    every = found[:, :, :]
    for box in (
        (slice(0, 3), slice(5, 14), slice(2, 9)),
        (slice(4, 8), slice(4, 8), slice(4, 8)),
        (slice(-2, None),) * 3,
    ):
        np.testing.assert_array_equal(found[box], every[box])
    assert found[5:5, :, :].shape == (0, 14, 15)


def test_what_has_no_room_is_made_again(monkeypatch):
    labels = random(4, (12, 13, 14))
    ways = {1: components(), 2: watershed()}
    expected, _ = whole(labels, ways, chunk=5)
    monkeypatch.setattr("copick_tools.volumes.semantic_instances.ROOM", 0)
    np.testing.assert_array_equal(whole(labels, ways, chunk=5)[0], expected)


# ---- watershed ------------------------------------------------------------------------------------------------------
def tops_by_flooding(levels, apart, connectivity):
    """How many parts: voxel by voxel from the highest down, parts that meet become one unless they are apart."""
    most = {6: 1, 18: 2, 26: 3}[connectivity]
    around = [step for step in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) <= most]
    parent, top = {}, {}

    def find(voxel):
        while parent[voxel] != voxel:
            voxel = parent[voxel]
        return voxel

    for voxel in sorted(map(tuple, np.argwhere(levels > 0).tolist()), key=lambda v: (-int(levels[v]), v)):
        level = int(levels[voxel])
        met = {find(n) for s in around if (n := tuple(a + b for a, b in zip(voxel, s))) in parent}
        parent[voxel], top[voxel] = voxel, level
        if met:  # a voxel below others is of the highest of them
            parent[voxel] = max(met, key=lambda v: (top[v], v))
        roots = sorted(met, key=lambda v: -top[v])
        for other in roots[1:]:
            here = find(roots[0])
            if not apart(min(top[here], top[other]), level):
                low, high = sorted((here, other), key=lambda v: top[v])
                parent[low] = high
    return len({find(voxel) for voxel in parent})


@pytest.mark.parametrize("connectivity", [6, 26])
@pytest.mark.parametrize(("neck", "depth"), [(0.7, 1.0), (0.9, 0.3)])
def test_watershed_finds_as_many_parts_as_flooding(connectivity, neck, depth):
    for seed in range(8):
        labels = blobs(seed, (9, 12, 13), -0.3)
        levels = relief.Depth(labels, 1).levels((slice(0, 9), slice(0, 12), slice(0, 13)))
        _, counts = whole(labels, {1: watershed(connectivity, neck=neck, depth=depth)})
        assert counts[1] == tops_by_flooding(levels, merging.Necks(neck, depth), connectivity)


def touching(shape, radius):
    """Balls on a grid, whose masks touch, and the truth of each voxel: the ball it is nearest to."""
    step = 2 * radius
    corners = np.stack(np.meshgrid(*(np.arange(radius + 1, n - radius, step) for n in shape), indexing="ij"), -1)
    centers = corners.reshape(-1, 3)
    truth, nearest = np.zeros(shape, int), np.full(shape, np.inf)
    for number, center in enumerate(centers, start=1):
        away = sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), center))
        own = (away <= (radius + 0.5) ** 2) & (away < nearest)
        truth[own], nearest[own] = number, away[own]
    return truth


def ious(truth, found):
    """Of each object with what overlaps it most."""
    result = []
    for number in range(1, truth.max() + 1):
        own = truth == number
        other = np.bincount(found[own]).argmax()
        result.append((own & (found == other)).sum() / (own | (found == other)).sum() if other else 0.0)
    return np.array(result)


@pytest.mark.parametrize("radius", [5, 8])
def test_touching_balls_come_apart_where_components_fuse_them(radius):
    truth = touching((3 * radius + 20, 60, 60), radius)
    labels = (truth > 0).astype(np.uint8)
    assert whole(labels, {1: components()})[1][1] == 1
    for chunk in (256, 23):
        found, counts = whole(labels, {1: watershed()}, chunk=chunk)
        assert counts[1] == truth.max()
        assert ious(truth, found).min() > 0.95
        assert (found > 0).sum() == labels.sum()


def test_as_scikit_image_does_it():
    """Markers of h-maxima and scikit-image's watershed find the same objects."""
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed as flood

    truth = touching((30, 60, 60), 6)
    labels = (truth > 0).astype(np.uint8)
    depth = ndimage.distance_transform_edt(np.pad(labels, 1))[1:-1, 1:-1, 1:-1]
    seeds, count = ndimage.label(h_maxima(depth, 1.0), np.ones((3, 3, 3)))
    theirs = flood(-depth, seeds, mask=labels > 0)
    ours, counts = whole(labels, {1: watershed()})
    assert counts[1] == count == truth.max()
    assert ious(theirs, ours).min() > 0.9


def test_what_a_neck_is():
    wide, narrow = (
        balls((20, 20, 50), (10, 10, 12, 8), (10, 10, 20, 8)),
        balls((20, 20, 50), (10, 10, 12, 8), (10, 10, 27, 8)),
    )
    assert whole(wide, {1: watershed()})[1][1] == 1
    assert whole(narrow, {1: watershed()})[1][1] == 2
    assert whole(wide, {1: watershed(neck=0.95, depth=0)})[1][1] == 2
    assert whole(narrow, {1: watershed(depth=9)})[1][1] == 1
    assert whole(narrow, {1: watershed(distance=16)})[1][1] == 1
    assert whole(narrow, {1: watershed(distance=14)})[1][1] == 2


def test_seeds_of_other_objects_do_not_count():
    apart = balls((20, 20, 60), (10, 10, 10, 6), (10, 10, 26, 6), (10, 10, 37, 6))
    assert whole(apart, {1: watershed(distance=14)})[1][1] == 2  # the first stands alone, the others are one


def test_an_object_with_a_face_beyond_the_volume_is_one():
    half = balls((16, 30, 30), (0, 15, 15, 13))
    assert whole(half, {1: watershed()})[1][1] == 1


# ---- boundaries -----------------------------------------------------------------------------------------------------
def test_a_boundary_divides_and_is_shared_out():
    labels = np.zeros((8, 12, 21), np.uint8)
    labels[1:7, 1:11, 1:20] = 1
    boundary = np.zeros(labels.shape, np.float32)
    boundary[:, :, 9:12] = 0.8
    found, counts = whole(labels, {1: bounded()}, {1: boundary})
    assert counts[1] == 2
    assert (found > 0).sum() == labels.sum()
    assert (found[labels > 0].reshape(6, 10, 19)[:, :, :9] == 1).all()
    assert (found[labels > 0].reshape(6, 10, 19)[:, :, 10:] == 2).all()
    assert whole(labels, {1: bounded()}, {1: boundary * 0.5})[1][1] == 1  # below the threshold


def test_clearance_closes_gaps():
    labels = np.ones((12, 24, 41), np.uint8)
    boundary = np.zeros(labels.shape, bool)
    boundary[:, :, 20] = True
    boundary[5:7, 11:13, 20] = False  # two voxels wide
    assert whole(labels, {1: bounded()}, {1: boundary})[1][1] == 1
    found, counts = whole(labels, {1: bounded(clearance=2)}, {1: boundary})
    assert counts[1] == 2
    assert (found > 0).all()
    assert (found[:, :, :19] == 1).all()
    assert (found[:, :, 22:] == 2).all()


def test_all_boundary_or_none():
    labels = np.ones((4, 5, 6), np.uint8)
    assert whole(labels, {1: bounded()}, {1: np.ones(labels.shape)})[1][1] == 1
    assert whole(labels, {1: bounded()}, {1: np.zeros(labels.shape)})[1][1] == 1
    with pytest.raises(ValueError, match="boundary"):
        convert(labels, {1: bounded()})
    with pytest.raises(ValueError, match="shape"):
        convert(labels, {1: bounded()}, {1: np.zeros((4, 5, 7))})


# ---- networks -------------------------------------------------------------------------------------------------------
def test_fragments_of_a_network_hang_together_across_gaps():
    labels = np.zeros((5, 5, 30), np.uint8)
    labels[2, 2, 1:9] = labels[2, 2, 12:20] = labels[2, 2, 26:] = 1  # gaps of 3 and 6
    for join, count in ((0.0, 3), (2.0, 3), (4.0, 2), (5.0, 2), (6.0, 1)):
        for chunk in (256, 7):
            found, counts = whole(labels, {1: components(join=join)}, chunk=chunk)
            assert counts[1] == count, join
            assert ((found > 0) == (labels > 0)).all()


# ---- odd volumes ----------------------------------------------------------------------------------------------------
EVERY = (components(), watershed(), components(join=1.0), bounded())


@pytest.mark.parametrize("way", EVERY, ids=lambda way: way.method)
class TestOddVolumes:
    def one(self, labels, way, chunk=8):
        return whole(labels, {1: way}, {1: np.zeros(np.shape(labels))}, chunk=chunk)

    def test_nothing(self, way):
        found, counts = self.one(np.zeros((9, 9, 9), np.uint8), way)
        assert counts == {1: 0}
        assert not found.any()
        assert found.dtype == np.uint16

    def test_no_voxels(self, way):
        assert self.one(np.zeros((0, 9, 9), np.uint8), way)[0].shape == (0, 9, 9)

    def test_no_background(self, way):
        found, counts = self.one(np.ones((9, 10, 11), np.uint8), way)
        assert counts == {1: 1}
        assert (found == 1).all()

    def test_one_fills_nine_tenths(self, way):
        labels = np.ones((20, 20, 20), np.uint8)
        labels[0, 0, :] = labels[:2] = 0
        found, counts = self.one(labels, way)
        assert counts == {1: 1}
        np.testing.assert_array_equal(found, labels)

    def test_single_voxels(self, way):
        labels = np.zeros((12, 12, 12), np.uint8)
        labels[::4, ::4, ::4] = 1
        found, counts = self.one(labels, way)
        assert counts == {1: 27}
        assert sorted(found[labels > 0]) == list(range(1, 28))

    def test_one_voxel_in_all(self, way):
        assert self.one(np.ones((1, 1, 1), np.uint8), way)[0].tolist() == [[[1]]]

    def test_types_of_labels(self, way):
        labels = blobs(0, (9, 9, 9))
        expected, _ = self.one(labels, way)
        for dtype in (bool, np.int8, np.uint16, np.int32, np.uint64):
            np.testing.assert_array_equal(self.one(labels.astype(dtype), way)[0], expected)


def test_labels_beyond_a_byte_and_gaps_between_them():
    labels = random(0, labels=2).astype(np.uint16)
    far = np.where(labels == 2, 40_000, labels * 300).astype(np.uint16)
    found, counts = whole(far, {300: components(), 40_000: watershed()})
    expected, same = whole(labels, {1: components(), 2: watershed()})
    np.testing.assert_array_equal(found, expected)
    assert list(counts.values()) == list(same.values())
    assert present(far) == [300, 40_000]


def test_labels_that_are_not_wanted_are_left_out():
    labels = random(1, labels=5)
    found, counts = whole(labels, {3: components()}, chunk=4)
    assert set(counts) == {3}
    np.testing.assert_array_equal(found > 0, labels == 3)


def test_sizes():
    labels = np.zeros((4, 4, 20), np.uint8)
    labels[1, 1, 1], labels[1, 1, 4:6], labels[1, 1, 9:13] = 1, 1, 1
    for limits, kept in (((2, np.inf), [2, 4]), ((0, 2), [1, 2]), ((2, 2), [2]), ((1.5, 3.9), [2])):
        found, counts = whole(labels, {1: components(limits=limits)}, chunk=5)
        assert np.bincount(found[found > 0])[1:].tolist() == kept
        assert counts == {1: len(kept)}


def test_more_than_two_bytes_of_instances():
    labels = np.zeros((84, 84, 84), np.uint8)
    labels[::2, ::2, ::2] = 1
    found, counts = whole(labels, {1: components()}, chunk=32)
    assert counts == {1: 42**3}
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found[labels > 0], np.arange(1, 42**3 + 1))


def test_probabilities_are_no_labels():
    with pytest.raises(ValueError, match="integer labels"):
        convert(np.full((2, 2, 2), 0.5), {1: components()})
    with pytest.raises(ValueError, match="three axes"):
        convert(np.ones((2, 2), int), {1: components()})


def test_no_object_is_wanted():
    found, counts = whole(random(0), {})
    assert counts == {}
    assert not found.any()


def test_panoptic_has_labels_where_there_are_instances():
    labels = np.array([[[1, 1, 0, 2, 7]]], np.uint8)
    found = convert(labels, {1: components(limits=(2, 9)), 2: components(limits=(2, 9))})
    assert Panoptic(labels, found)[:, :, :].tolist() == [[[[1, 1, 0, 0, 0]]], [[[1, 1, 0, 0, 0]]]]


def test_memory_is_that_of_blocks(monkeypatch):
    """Four times the blocks take less than twice the memory: most is that of one block."""
    monkeypatch.setattr(packed, "ROOM", 0)
    monkeypatch.setattr("copick_tools.volumes.semantic_instances.ROOM", 0)

    def grown(copies):
        tile = balls((32, 64, 64), (16, 30, 20, 11), (16, 30, 42, 11))

        class Tiled:
            shape = (32 * copies, 64, 64)

            def __getitem__(self, region):
                return tile[np.ix_(np.arange(self.shape[0])[region[0]] % 32, *(np.arange(64)[r] for r in region[1:]))]

        def walk():
            found = convert(Tiled(), {1: components()}, chunk=32)
            for z in range(0, Tiled.shape[0], 32):
                assert found[z : z + 32, :32, :].any()

        return peak(walk)

    assert grown(12) < 2 * grown(3)


def test_only_what_is_among():
    values = np.array([-1, 0, 3, 200])
    for dtype in (np.int16, np.int64):
        assert measuring.among(values.astype(dtype), [3, 200]).tolist() == [False, False, True, True]
    assert measuring.among(np.array([0, 3, 200], np.uint8), [3, 500]).tolist() == [False, True, False]
    assert measuring.among(np.array([False, True]), [1]).tolist() == [False, True]
