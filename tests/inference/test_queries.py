"""From what queries say to instances: in a window, over the windows of a slice, over the slices of a volume."""

import numpy as np
import pytest
import torch
from volumes.blobs import accuracy, ball

from copick_tools.errors import PopsicleError, UsageError
from copick_tools.inference.mapped import predict_instances
from copick_tools.inference.queries import LEFT, Queried, Shown, chosen, merged, tiled
from copick_tools.inference.tiles import tiles
from copick_tools.volumes.decoding import Decoding
from copick_tools.volumes.normalize import normalize, scale_of
from copick_tools.volumes.sample import Sample

SURE, HIGH = 0.9, 6.0


def said(masks, classes, channels=2, certainty=SURE):
    """What queries say that are right. masks: (Q, y, x) bool. classes: their channels from 1, 0 for no object."""
    found = torch.zeros(len(masks), channels)
    for row, channel in enumerate(classes):
        if channel:
            found[row, channel - 1] = certainty
    return found, torch.where(torch.tensor(np.array(masks)), HIGH, -HIGH)


def rectangle(y, x, shape=(8, 10)):
    made = np.zeros(shape, bool)
    made[slice(*y), slice(*x)] = True
    return made


def test_each_query_that_is_sure_becomes_an_object():
    left, right = rectangle((0, 8), (0, 4)), rectangle((2, 6), (6, 10))
    classes, masks = said([left, right, right], [2, 1, 0])
    numbers, channels, scores = chosen(classes, masks, (8, 10), 0.5)
    assert numbers.dtype == torch.int32
    np.testing.assert_array_equal(numbers, left + 2 * right)
    assert channels.tolist() == [0, 2, 1]
    probability = 1 / (1 + np.exp(-HIGH))
    np.testing.assert_allclose(scores, [0, SURE * probability, SURE * probability], rtol=1e-5)


def test_a_faint_query_is_left_out():
    classes, masks = said([rectangle((0, 8), (0, 4))], [1])
    for least, count in ((SURE - 0.01, 1), (SURE, 0), (0.99, 0)):  # the mask's own mean is below 1
        numbers, channels, _ = chosen(classes, masks, (8, 10), least)
        assert len(channels) == count + 1
        assert numbers.max() == count


def test_nothing_at_all():
    numbers, channels, scores = chosen(torch.zeros(3, 2), torch.full((3, 4, 5), -HIGH), (8, 10), 0.0)
    assert (numbers.shape, numbers.max(), channels.tolist(), scores.tolist()) == ((8, 10), 0, [0], [0])


def test_masks_grow_to_the_window():
    classes, masks = said([rectangle((0, 2), (0, 1), (2, 2))], [1])
    numbers, *_ = chosen(classes, masks, (8, 12), 0.5)
    np.testing.assert_array_equal(numbers, rectangle((0, 8), (0, 6), (8, 12)))


def test_of_two_queries_of_one_object_the_better_one_stays():
    whole, most = rectangle((0, 8), (0, 5)), rectangle((0, 7), (0, 5))
    classes, masks = said([most, whole], [1, 1])
    classes[0] *= 0.9
    numbers, channels, scores = chosen(classes, masks, (8, 10), 0.5)
    assert len(channels) == 2
    assert scores[1] > 0.89
    np.testing.assert_array_equal(numbers, whole)


def test_what_is_left_of_a_mask():
    """A better query takes some of it: it stays if most of it is left."""
    for stolen, stays in ((1, True), (3, False)):
        first, second = rectangle((0, 8), (0, stolen)), rectangle((0, 8), (0, 10))
        classes, masks = said([first, second], [1, 2])
        classes[1] *= 0.9
        numbers, channels, _ = chosen(classes, masks, (8, 10), 0.5)
        assert ((10 - stolen) / 10 >= LEFT) == stays
        assert channels.tolist() == ([0, 1, 2] if stays else [0, 1])
        assert (numbers == 1).sum() == 8 * stolen


def windows(ids, labels, tile, halo, scores=None):
    """What windows show of a slice when each is right of what it sees. ids: (y, x)."""
    found = []
    for one in tiles(ids.shape, tile, halo):
        own, numbers = np.unique(ids[one.outer], return_inverse=True)
        own, numbers = np.r_[0, own[own > 0]], numbers.reshape(ids[one.outer].shape) + (0 if 0 in own else 1)
        found.append(Shown(one, one.outer, numbers.astype(np.int32), labels[own], (np.arange(99) / 99)[own]))
    return found


SCENE = np.zeros((20, 30), int)
SCENE[2:6, 2:28], SCENE[8:18, 12:18], SCENE[10:12, 20:22], SCENE[19, 29], SCENE[8:18, 2:10] = 1, 2, 3, 4, 5
KINDS = np.array([0, 1, 2, 2, 1, 3])


@pytest.mark.parametrize(("tile", "halo"), [(None, 0), (10, 3), ((20, 10), 5), (8, 4), (30, 0)])
def test_windows_agree(tile, halo):
    """Objects longer than a window, too; and none is there twice."""
    ids, labels = merged(SCENE.shape, windows(SCENE, KINDS, tile, halo))
    assert accuracy(SCENE[None], ids[None]) == 1
    np.testing.assert_array_equal(labels[ids], KINDS[SCENE])
    assert len(labels) == 6


def test_without_an_overlap_nobody_knows():
    ids, _ = merged(SCENE.shape, windows(SCENE, KINDS, 10, 0))
    assert ids.max() > 5


def test_one_window_alone_speaks_for_its_own_tile():
    first, second = windows(np.zeros((4, 20), int), KINDS, (4, 10), 4)
    rim = np.zeros((4, 14), np.int32)
    rim[1:3, 11:14] = 1  # of the first window, in the second's tile, and the second doesn't see it
    seen = Shown(first.tile, first.box, rim, np.array([0, 1]), np.array([0, 0.9]))
    assert merged((4, 20), [seen, second])[0].max() == 0
    rim = np.roll(rim, -4, axis=1)
    seen = Shown(first.tile, first.box, rim, np.array([0, 1]), np.array([0, 0.9]))
    ids, labels = merged((4, 20), [seen, second])
    np.testing.assert_array_equal(ids[:, :14], rim)
    assert labels.tolist() == [0, 1]


def test_windows_that_disagree():
    """One object of two kinds: the better one counts. Of one kind but elsewhere: pixels go to the better one."""
    first, second = windows(np.zeros((4, 20), int), KINDS, (4, 10), 4)
    whole = np.zeros((4, 20), np.int32)
    whole[1:3, 7:13] = 1
    sides = [Shown(w.tile, w.box, whole[w.box].copy(), np.array([0, label]), np.array([0, score]))
             for w, label, score in ((first, 1, 0.6), (second, 2, 0.8))]  # fmt: skip
    sides[0].ids[1:3, 6] = 1  # its center lies in the first tile now
    ids, labels = merged((4, 20), sides)
    assert labels.tolist() == [0, 2]
    np.testing.assert_array_equal(ids, whole)


@pytest.mark.parametrize("shape", [(64, 64), (40, 100), (200, 64), (63, 65), (300, 301)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_windows_are_full_and_hold_their_tiles(shape, overlap):
    for tile, box in tiled(shape, (64, 64), overlap):
        for part, outer, length in zip(box, tile.outer, shape):
            assert part.stop - part.start == min(64, length)
            assert part.start <= outer.start
            assert outer.stop <= part.stop


def test_a_slice_that_a_window_holds_is_one_tile():
    assert len(tiled((64, 60), (64, 64), 0.5)) == 1
    assert len(tiled((65, 60), (64, 64), 0.5)) == 3


class Knowing(torch.nn.Module):
    """Says what voxels of a value are: one query for each. kinds: (N,) channel of each value."""

    def __init__(self, values, kinds, channels):
        super().__init__()
        self.values, self.kinds, self.channels, self.batches = values, kinds, channels, []

    def queries(self, images):
        self.batches.append(len(images))
        masks = torch.stack([(images[:, 0] - value).abs() < 1e-3 for value in self.values], dim=1)
        classes = torch.zeros(len(images), len(self.values), self.channels)
        classes[:, range(len(self.kinds)), self.kinds - 1] = SURE
        return classes * masks.any(dim=(2, 3))[:, :, None], torch.where(masks, HIGH, -HIGH)


def knowing(ids, labels, **more):
    """A predictor that is right of a volume: the one that it comes with."""
    volume = ids.astype(np.float32)
    values = normalize(np.arange(1, ids.max() + 1, dtype=np.float32), scale_of(volume, 0))
    objects = {f"kind-{label}": label for label in sorted(set(labels.tolist()) - {0})}
    channel = {label: number for number, label in enumerate(objects.values(), 1)}
    network = Knowing(values.tolist(), np.array([channel[label] for label in labels[1:].tolist()]), len(objects))
    settings = {"patch": (1, 16, 16), "overlap": 0.5, "batch_size": 4, **more}
    return Queried(network=network, objects=objects, voxel_spacing=10.0, normalize=0.0, **settings), volume


def balls():
    """(z, y, x) ids of the middles of three balls, and their labels; some slices hold nothing."""
    ids = np.zeros((20, 30, 40), int)
    for number, (center, radius) in enumerate((((8, 10, 12), 6), ((9, 18, 28), 6), ((10, 5, 34), 4)), 1):
        made = ball(ids.shape, center, radius)
        made[: center[0] - radius // 2], made[center[0] + radius // 2 + 1 :] = False, False
        ids[made] = number  # without the ends, which are too small to be put together with the next slice
    return ids, np.array([0, 4, 7, 4])


def test_a_volume():
    ids, labels = balls()
    predictor, volume = knowing(ids, labels)
    found = predictor.instances(volume, Decoding(stitch=0.1))
    assert accuracy(ids, found.ids) == 1
    np.testing.assert_array_equal(found.objects[found.ids], labels[ids])
    assert set(predictor.network.batches) == {1}  # on a CPU


def test_limits_and_foreground_count():
    ids, labels = balls()
    predictor, volume = knowing(ids, labels)
    voxels = np.bincount(ids.ravel())
    found = predictor.instances(volume, Decoding(stitch=0.1, limits=(voxels[3] + 1, np.inf)))
    assert len(found.objects) == 3
    assert predictor.instances(volume, Decoding(stitch=0.1, foreground=0.95)).ids.max() == 0


def test_objects_go_on_as_their_own_kind_alone():
    ids = np.zeros((4, 16, 16), int)
    ids[:2, 2:10, 2:10], ids[2:, 2:10, 2:10] = 1, 2
    for labels, count in ((np.array([0, 4, 7]), 2), (np.array([0, 4, 4]), 1)):
        predictor, volume = knowing(ids, labels)
        found = predictor.instances(volume, Decoding(stitch=0.25))
        assert len(found.objects) == count + 1
        np.testing.assert_array_equal(found.objects[found.ids], labels[ids])


def test_networks_are_what_hangs_together():
    ids = np.zeros((3, 16, 16), int)
    ids[:, 2:6, 2:14], ids[:, 10:12, 3:5] = 1, 2
    ids[:, 10:14, 8:14] = 1  # apart from the rest
    predictor, volume = knowing(ids, np.array([0, 4, 7]))
    found = predictor.instances(volume, Decoding(stitch=0.25, networks=(4,)))
    assert sorted(found.objects[1:].tolist()) == [4, 4, 7]
    np.testing.assert_array_equal(found.objects[found.ids], np.array([0, 4, 7])[ids])


def test_only_the_sample_counts():
    ids, labels = balls()
    predictor, volume = knowing(ids, labels)
    low = np.full((30, 40), 9, np.float32)
    low[:, 24:] = np.inf
    sample = Sample(low, np.where(np.isfinite(low), 12, -np.inf).astype(np.float32), 20)
    found = predictor.instances(volume, Decoding(stitch=0.1), sample)
    wanted = np.where((np.arange(20)[:, None, None] >= 9) & (np.arange(20)[:, None, None] <= 12), ids, 0)
    wanted[:, :, 32:] = 0  # the sample is known in columns of 16 voxels
    np.testing.assert_array_equal(found.ids > 0, wanted > 0)
    everywhere = len(predictor.network.batches)
    predictor.instances(volume, Decoding(stitch=0.1))
    assert len(predictor.network.batches) - everywhere > 2 * everywhere


def test_thinner_than_a_window():
    ids = np.zeros((2, 7, 40), int)
    ids[:, 2:5, 3:7], ids[:, 1:6, 20:30] = 1, 2
    predictor, volume = knowing(ids, np.array([0, 4, 4]))
    assert accuracy(ids, predictor.instances(volume, Decoding(stitch=0.25)).ids) == 1


def test_through_the_common_door():
    ids, labels = balls()
    predictor, volume = knowing(ids, labels)
    found, spacing = predict_instances(predictor, volume, 10.0, "run A", lambda spacing: Decoding(stitch=0.1))
    assert (accuracy(ids, found.ids), spacing) == (1, 10.0)
    predictor.network.values[0] = float("nan")
    predictor.network.queries = lambda images: (torch.full((len(images), 1, 2), torch.nan), torch.zeros(1, 1, 16, 16))
    with pytest.raises(PopsicleError, match="run A: the network's output isn't finite"):
        predict_instances(predictor, volume, 10.0, "run A", lambda spacing: Decoding(stitch=0.1))


def test_orientations_are_refused():
    predictor, volume = knowing(*balls(), tta=4)
    with pytest.raises(UsageError, match="can't be averaged over orientations"):
        predictor.instances(volume, Decoding(stitch=0.1))
