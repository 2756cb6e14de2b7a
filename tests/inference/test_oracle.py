"""A promptable model that knows the answer."""

import numpy as np
import pytest
from inference.asking import Counting

from copick_tools.inference.oracle import Oracle
from copick_tools.inference.promptable import BACKGROUND, OBJECT, PADDING

IDS = np.zeros((3, 8, 12), np.uint32)
IDS[1, 1:4, 1:5] = 70_000  # an id that isn't small
IDS[1, 4:7, 1:5] = 4
IDS[1, 2:6, 7:12] = 9
IDS[2, 0, 0] = 5


def answer(z=1, region=np.s_[0:8, 0:12], **prompts):
    """Masks (N, y, x), and what is expected of them."""
    oracle = Oracle(IDS)
    said = oracle.predict(oracle.encode(np.zeros((1, 1)), (z, *region)), **prompts)
    assert said.masks.shape[:2] == said.iou.shape == (len(said.masks), 1)
    return said.masks[:, 0] > 0, said.iou[:, 0].tolist()


def points(*places):
    """One object's points, all on it."""
    return {"points": np.array([places], np.float32), "labels": np.full((1, len(places)), OBJECT)}


def test_a_point_names_its_object():
    masks, iou = answer(points=np.array([[[2, 2]], [[5, 3]], [[3, 11]]], float), labels=np.full((3, 1), OBJECT))
    np.testing.assert_array_equal(masks, [IDS[1] == name for name in (70_000, 4, 9)])
    assert iou == [1, 1, 1]


@pytest.mark.parametrize("place", [(0, 0), (7, 6), (-4, 2), (2, 40)])
def test_a_point_on_nothing(place):
    masks, iou = answer(**points(place))
    assert (masks.any(), iou) == (False, [0])


def test_most_points_win_and_those_off_the_object_do_not_count():
    places = np.array([[[2, 2], [5, 2], [5, 3], [3, 8], [3, 9], [3, 10]]], float)
    for labels, name in (
        ([OBJECT] * 3 + [PADDING] * 3, 4),
        ([OBJECT] * 3 + [BACKGROUND] * 3, 4),
        ([OBJECT] * 6, 9),
        ([OBJECT, *[BACKGROUND] * 5], 70_000),
    ):
        masks, _ = answer(points=places, labels=np.array([labels]))
        np.testing.assert_array_equal(masks[0], IDS[1] == name)


@pytest.mark.parametrize(
    ("box", "name"), [((1, 1, 4, 5), 70_000), ((3, 0, 8, 6), 4), ((2, 5, 7, 12), 9), ((0, 0, 1, 12), 0)]
)
def test_a_box_names_the_object_whose_box_is_nearest(box, name):
    masks, iou = answer(boxes=np.array([box], float))
    np.testing.assert_array_equal(masks[0], (IDS[1] == name) & (name > 0))
    assert iou == [float(name > 0)]


def test_a_mask_names_the_object_that_most_of_it_is_on():
    before = np.zeros((2, 8, 12), bool)
    before[0, 3:7, 2:4] = True
    masks, _ = answer(masks=before)
    np.testing.assert_array_equal(masks, [IDS[1] == 4, np.zeros((8, 12))])
    logits = np.where(before, 0.5, -0.5)
    np.testing.assert_array_equal(answer(masks=logits)[0], masks)


def test_points_count_more_than_masks_and_masks_more_than_boxes():
    mask, box = (IDS[1] == 4)[None], np.array([[2, 7, 6, 12]], float)
    np.testing.assert_array_equal(answer(masks=mask, boxes=box)[0][0], IDS[1] == 4)
    np.testing.assert_array_equal(answer(masks=mask, boxes=box, **points((2, 2)))[0][0], IDS[1] == 70_000)
    np.testing.assert_array_equal(answer(masks=mask, boxes=box, **points((0, 0)))[0][0], IDS[1] == 4)  # it falls back


def test_of_a_tile_it_knows_what_the_tile_shows():
    masks, _ = answer(region=np.s_[2:8, 3:12], **points((0, 0)))
    np.testing.assert_array_equal(masks[0], IDS[1, 2:8, 3:12] == 70_000)


def test_it_knows_slices_by_their_place():
    assert answer(z=2, **points((0, 0)))[0].sum() == 1
    assert answer(z=0, **points((0, 0)))[0].sum() == 0
    with pytest.raises(ValueError, match="where an image is"):
        Oracle(IDS).encode(np.zeros((8, 12)))


def test_no_objects_asked_for():
    masks, iou = answer(points=np.empty((0, 1, 2)), labels=np.empty((0, 1), int))
    assert (masks.shape, iou) == ((0, 8, 12), [])
    assert Counting(IDS).identity == "oracle"
