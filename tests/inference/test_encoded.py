"""Slices behind a promptable model: tiles, batches, what is held and what is stored."""

import numpy as np
import pytest
from inference.asking import AS_IT_IS, Counting, Planned, behind, dense, noise
from volumes.blobs import touching

from copick_tools.inference import encoded as module
from copick_tools.inference.encoded import Ask, Encoded
from copick_tools.inference.oracle import Oracle
from copick_tools.inference.promptable import PADDING
from copick_tools.recipes.prompting import Prompting
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.normalize import Intensity

IDS = touching((6, 40, 50), 14, 8.0, seed=4)
TILED = {"tile": 16, "halo": 17}  # no object is wider than its tile's halo


def prompts(z, kinds):
    """Of every object in a slice: its ids, and prompts of these kinds made of its own mask."""
    names = np.unique(IDS[z][IDS[z] > 0])
    masks = IDS[z] == names[:, None, None]
    cuts = Cuts.of(masks, (1, *IDS.shape[1:]))
    places = np.array([np.argwhere(mask)[len(np.argwhere(mask)) // 2] for mask in masks])
    ask = Ask.on(places)
    return names, Ask(
        ask.points if "points" in kinds else None,
        ask.labels if "points" in kinds else None,
        cuts.boxes()[:, :, 1:].reshape(-1, 4) if "boxes" in kinds else None,
        cuts if "masks" in kinds else None,
    )


@pytest.mark.parametrize("kinds", ["points", "boxes", "masks", "boxes masks", "points boxes masks"])
@pytest.mark.parametrize("tiling", [{}, TILED])
def test_masks_come_back_in_order(kinds, tiling):
    """Whatever asks for them, from whichever tile, in whichever batch."""
    for z in (0, 3):
        names, ask = prompts(z, kinds.split())
        assert len(names) > 5
        cuts = behind(Oracle(IDS), IDS.shape, **tiling, batch_size=3).asked(z, ask, offset=1.0)
        assert cuts.shape == (1, *IDS.shape[1:])
        np.testing.assert_array_equal(dense(cuts)[:, 0], IDS[z] == names[:, None, None])
        assert cuts.iou.tolist() == cuts.stability.tolist() == [1.0] * len(names)


def test_a_tile_without_a_halo_cuts_objects_off():
    names, ask = prompts(3, ["points"])
    cuts = behind(Oracle(IDS), IDS.shape, tile=16).asked(3, ask, offset=1.0)
    assert (cuts.sizes <= (IDS[3] == names[:, None, None]).sum(axis=(1, 2))).all()
    assert (cuts.sizes < (IDS[3] == names[:, None, None]).sum(axis=(1, 2))).any()


def test_batches_are_no_larger_than_asked_for():
    model = Counting(IDS)
    names, ask = prompts(3, ["points"])
    behind(model, IDS.shape, batch_size=4).asked(3, ask, offset=1.0)
    assert model.asked == [4] * (len(names) // 4) + [len(names) % 4] * (len(names) % 4 > 0)


def test_a_point_outside_of_its_tile_is_none():
    """The box of an object lies in the middle of a tile, its deepest pixel far off."""
    ask = Ask(np.array([[[1, 2]]]), np.array([[1]]), np.array([[0, 0, 40, 50]]))
    tile = next(t for t in behind(Oracle(IDS), IDS.shape, tile=16, halo=2).tiles if t.owns(19.5, 24.5))
    assert ask.rows(np.array([0]), tile)["labels"].tolist() == [[PADDING]]
    assert ask.labels.tolist() == [[1]]


def test_nothing_asked_for():
    model = Counting(IDS)
    cuts = behind(model, IDS.shape).asked(0, Ask.on(np.empty((0, 2), int)), offset=1.0)
    assert (len(cuts), cuts.shape, model.encoded.total()) == (0, (1, 40, 50), 0)


def test_the_best_of_several_masks_and_its_stability():
    """A model that answers with three masks: the one that it believes in most counts."""
    small, large = np.full((8, 9), -5.0), np.full((8, 9), -5.0)
    small[2:4, 2:4], large[1:6, 1:6], large[1, 1] = 5, 5, 0.5
    model = Planned({(2, 2): (np.stack([small, large, -small]), [0.4, 0.8, 0.6])})
    for offset, wanted in ((1.0, 24 / 25), (0.1, 1.0)):
        cuts = behind(model, (1, 8, 9)).asked(0, Ask.on(np.array([[2, 2]])), offset=offset)
        np.testing.assert_array_equal(dense(cuts)[0, 0], large > 0)
        assert (cuts.iou.tolist(), cuts.stability.tolist()) == ([0.8], [wanted])


def test_the_model_sees_normalized_tiles():
    seen = []

    class Looking(Oracle):
        def encode(self, image, place=None):
            seen.append((place, image))
            return super().encode(image, place)

    volume = noise(IDS.shape) * 3 + 5
    statistics = Intensity(2.0, 9.0, 4.0, 2.0)
    encoded = Encoded(Looking(IDS), volume, statistics, Prompting(tile=16, halo=3))
    for z, tile in encoded.every():
        encoded.embedding(z, tile)
    assert len(seen) == IDS.shape[0] * len(encoded.tiles) == 6 * 12
    for (z, y, x), image in seen:
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, (np.clip(volume[z, y, x], 2, 9) - 4) / 2, rtol=1e-5, atol=1e-6)


def test_slices_are_encoded_once_while_there_is_room(monkeypatch):
    model = Counting(IDS)
    encoded = behind(model, IDS.shape)
    for z in (0, 1, 2, 1, 0, 2):
        encoded.embedding(z, 0)
    assert model.encoded == {0: 1, 1: 1, 2: 1}
    monkeypatch.setattr(module, "HELD", 2 * encoded.embedding(0, 0)["ids"].nbytes)
    encoded.embedding(3, 0)  # 1 and 2 are held no more: 0 was used last
    assert encoded._bytes <= module.HELD
    for z in (0, 3):
        encoded.embedding(z, 0)
    assert model.encoded == {0: 1, 1: 1, 2: 1, 3: 1}
    encoded.embedding(2, 0)
    assert model.encoded[2] == 2


def test_a_window_that_moves_is_encoded_once(monkeypatch):
    """As a memory looks at slices: each object's, and those of objects that begin in the slices after it."""
    ids = touching((20, 24, 24), 6, 6.0, seed=1)
    model = Counting(ids)
    encoded = behind(model, ids.shape)
    monkeypatch.setattr(module, "HELD", 8 * encoded.embedding(0, 0)["ids"].nbytes)
    for start in range(20):
        for z in range(start, min(20, start + 6)):
            encoded.embedding(z, 0)
    assert set(model.encoded.values()) == {1}


def test_an_embedding_larger_than_all_room_is_used(monkeypatch):
    monkeypatch.setattr(module, "HELD", 1)
    model = Counting(IDS)
    names, ask = prompts(0, ["points"])
    assert len(behind(model, IDS.shape, batch_size=1).asked(0, ask, offset=1.0)) == len(names)
    assert model.encoded == {0: 1}


def test_the_store_is_asked_first_and_filled():
    class Kept(dict):
        def has(self, z, tile):
            return (z, tile) in self

        def put(self, z, tile, embedding):
            self[z, tile] = embedding

        def get(self, z, tile):
            return dict.get(self, (z, tile))

    kept, first = Kept(), Counting(IDS)
    one = Encoded(first, noise(IDS.shape), AS_IT_IS, Prompting(tile=16), kept)
    for z, tile in one.every():
        one.embedding(z, tile)
    assert len(kept) == len(list(one.every())) == first.encoded.total()
    again = Counting(IDS)
    other = Encoded(again, noise(IDS.shape), AS_IT_IS, Prompting(tile=16), kept)
    for z, tile in other.every():
        assert other.embedding(z, tile) is kept[z, tile]
    assert again.encoded.total() == 0
