"""Voxels that are led along come to rest where many small steps lead, in whatever pieces the work is done."""

import numpy as np
import pytest
from volumes.blobs import ball, touching

from copick_tools.volumes import following
from copick_tools.volumes.decoding import UNIT
from copick_tools.volumes.flow_fields import flow_fields, solids
from copick_tools.volumes.following import followed, grouped


def centers(ids):
    """zyx of the center of each object."""
    return {s.id: np.array(s.center) + [part.start for part in s.box] for s in solids(ids)}


def stepped(flows, mask, steps):
    """Where small steps lead, by scipy."""
    from scipy.ndimage import map_coordinates

    at = np.argwhere(mask).T.astype(float)
    for _ in range(steps):
        at += np.stack([map_coordinates(flow * mask, at, order=1, mode="nearest") for flow in flows])
        at = np.clip(at, 0, np.array(mask.shape)[:, None] - 1)
    return at.T


@pytest.mark.parametrize(("shape", "in_bytes"), [((16, 28, 28), True), ((1, 40, 40), True), ((1, 40, 40), False)])
def test_all_come_to_the_center_of_their_object(shape, in_bytes):
    ids = touching(shape, 5, 8.0)
    flows = flow_fields(ids)
    given = np.round(flows * UNIT).astype(np.int8) if in_bytes else flows
    rest = followed(given, ids > 0, UNIT if in_bytes else 1.0)
    at = np.column_stack(np.unravel_index(rest, shape))
    wanted = np.array([centers(ids)[value] for value in ids[ids > 0]])
    assert np.linalg.norm(at - wanted, axis=1).max() <= 1.8
    assert np.linalg.norm(at - stepped(flows, ids > 0, 60), axis=1).max() <= 2.5


def test_sinks_are_numbered_in_raster_order():
    ids = touching((16, 28, 28), 5, 8.0)
    mask = ids > 0
    found = np.zeros(ids.shape, int)
    found[mask] = grouped(followed(flow_fields(ids), mask), ids.shape)
    assert found.max() == 5
    flat = [np.ravel_multi_index(centers(ids)[ids[found == n][0]], ids.shape) for n in range(1, 6)]
    assert flat == sorted(flat)
    assert all(len(np.unique(ids[found == n])) == 1 for n in range(1, 6))


def test_pieces_change_nothing(monkeypatch):
    ids = touching((12, 20, 20), 4, 6.0)
    whole = followed(flow_fields(ids), ids > 0)
    monkeypatch.setattr(following, "CHUNK", 100)
    np.testing.assert_array_equal(followed(flow_fields(ids), ids > 0), whole)


def test_nothing_to_follow():
    rest = followed(np.zeros((3, 2, 3, 4), np.int8), np.zeros((2, 3, 4), bool), UNIT)
    assert rest.shape == (0,)
    assert grouped(rest, (2, 3, 4)).shape == (0,)


def test_without_flows_nothing_moves():
    mask = ball((8, 8, 8), (4, 4, 4), 3)
    rest = followed(np.zeros((3, 8, 8, 8), np.float32), mask)
    np.testing.assert_array_equal(rest, np.flatnonzero(mask))
    assert grouped(rest, mask.shape).max() >= 1  # 27 beside each other are enough
    assert not grouped(rest, mask.shape, fewest=28).any()


def test_what_leaves_the_mask_stays_where_it_left():
    mask = np.zeros((3, 3, 30), bool)
    mask[1, 1, 2:10] = True
    flows = np.zeros((3, 3, 3, 30), np.float32)
    flows[2] = 1.0
    x = np.unravel_index(followed(flows, mask), mask.shape)[2]
    assert set(x.tolist()) <= {10, 11}


def test_what_flows_beyond_the_volume_stays_at_its_face():
    mask = np.ones((1, 4, 20), bool)
    flows = np.zeros((3, 1, 4, 20), np.float32)
    flows[2] = -1.0
    y, x = np.unravel_index(followed(flows, mask), mask.shape)[1:]
    assert set(x.tolist()) == {0}
    assert y.tolist() == np.repeat(np.arange(4), 20).tolist()


def test_a_thousand_steps_are_taken():
    """Flows as weak as a network's are where it isn't sure lead as far."""
    mask = np.ones((1, 1, 700), bool)
    flows = np.zeros((3, 1, 1, 700), np.float32)
    flows[2] = 0.5
    assert set(followed(flows, mask).tolist()) == {699}


def test_sinks_need_arrivals_and_keep_apart():
    shape = (1, 1, 100)
    rest = np.repeat([10, 11, 12, 40, 41, 70, 73, 90], [20, 30, 15, 8, 1, 25, 25, 9])
    names = dict(zip(rest.tolist(), grouped(rest, shape, fewest=10, distance=3.0).tolist()))
    assert names == {10: 1, 11: 1, 12: 1, 40: 0, 41: 0, 70: 2, 73: 3, 90: 0}
    near = dict(zip(rest.tolist(), grouped(rest, shape, fewest=10, distance=3.5).tolist()))
    assert near[70] == near[73] == 2


def test_places_near_a_sink_count_as_it():
    rest = np.repeat([20, 24, 26], [50, 2, 2])
    assert grouped(rest, (1, 1, 40)).tolist() == [1] * 52 + [0] * 2


def test_the_order_of_voxels_changes_nothing():
    rest = np.random.default_rng(0).integers(0, 1000, 3000)
    order = np.random.default_rng(1).permutation(3000)
    np.testing.assert_array_equal(grouped(rest[order], (10, 10, 10)), grouped(rest, (10, 10, 10))[order])
