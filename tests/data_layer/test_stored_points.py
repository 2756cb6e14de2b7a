"""Reading a pick set at once gives what copick gives; whatever is unusual is copick's to read or to refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from copick_tools.data import stored_points as module
from copick_tools.data.read import read_picks
from copick_tools.data.uris import PicksUri
from copick_tools.data.write import write_picks
from copick_tools.errors import FormatError
from copick_tools.types import Points

URI = PicksUri("ribosome", "guess", "1")


@pytest.fixture
def entry(project):
    rng = np.random.default_rng(0)
    turned = Rotation.random(5, random_state=0).as_matrix()
    write_picks(project, "TS_1", URI, Points.at(rng.uniform(0, 400, (5, 3)), rng.random(5), turned))
    (found,) = [p for p in project.run("TS_1").picks if p.user_id == "guess"]
    return found


def change(entry, **changes):
    """Change the file's first point, or the file."""
    path = Path(entry.path)
    content = json.loads(path.read_text())
    for key, value in changes.items():
        (content if key in content else content["points"][0])[key] = value
    path.write_text(json.dumps(content))


def same(one, other):
    for name in ("positions", "scores", "rotations", "instance_ids"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.trust_orientation == other.trust_orientation


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trust_orientation": False},
        {"score": None, "instance_id": None},
        {"instance_id": 7},
        {"transformation_": [[0, -1, 0, 12], [1, 0, 0, -3.5], [0, 0, 1, 0.25], [0, 0, 0, 1]]},
    ],
)
def test_at_once_is_what_copick_reads(entry, changes):
    change(entry, **changes)
    at_once = module._at_once(entry)
    assert at_once is not None
    same(at_once, module._by_copick(entry, "TS_1"))
    assert len(at_once) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"points": None},
        {"points": []},
        {"user_id": 5},
        {"unit": None},
        {"instance_id": 1.5},
        {"instance_id": ""},
        {"instance_id": 10**400},
        {"score": [0.5, 0.2]},
        {"location": {"x": 10**400, "y": 0, "z": 0}},
        {"location": {"x": [1, 2], "y": [3, 4], "z": [5, 6]}},
        {"transformation_": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]},
        {"transformation_": [[1, 0], [0, 1]]},
        {"transformation_": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]},
        {"location": {"x": "here", "y": 0, "z": 0}},
    ],
)
def test_the_unusual_is_left_to_copick(entry, project, changes):
    change(entry, **changes)
    assert module._at_once(entry) is None
    if changes.get("points", 1) in (None, []):
        assert len(module.stored_points(entry, "TS_1")) == 0
    else:
        with pytest.raises(FormatError, match="picks of ribosome in run TS_1"):
            read_picks(project, "TS_1", [URI])


@pytest.mark.parametrize("text", ["[]", "{", "nothing"])
def test_what_is_no_pick_set(entry, project, text):
    Path(entry.path).write_text(text)
    with pytest.raises(FormatError, match="can't be read"):
        read_picks(project, "TS_1", [URI])


@pytest.mark.parametrize("changes", [{"score": float("nan")}, {"location": {"x": 1e300, "y": 0, "z": 0}}])
def test_numbers_beyond_any_tomogram(entry, project, changes):
    change(entry, **changes)
    with pytest.raises(FormatError, match="point 0 isn't finite, or beyond any tomogram"):
        read_picks(project, "TS_1", [URI])
