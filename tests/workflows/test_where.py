"""Where picks may lie: away from the faces, not near what is excluded, and in the sample."""

import json

import numpy as np
import pytest
from conftest import OBJECTS, SHAPE, SPACING, Popsicle, make_project
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import PicksUri, SegmentationUri, picks_uri, segmentation_uri
from copick_tools.data.write import write_picks, write_segmentation
from copick_tools.recipes.picking import Grid
from copick_tools.types import Points
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.extraction import Found
from copick_tools.workflows.where import Where, allowed

BOTTOM, TOP = 70.0, 180.0  # angstrom along z, of the clicks
RUNS = ("TS_1", "TS_2", "TS_3")


def clicks(z, slope=0.0):
    """On a surface over the whole tomogram."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(20, 450, 4), np.linspace(20, 450, 4)))
    return np.column_stack([x, y, z + slope * x])


class World:
    """A project with clicks, masks, and the picks that a low threshold gives everywhere."""

    def __init__(self, folder, checkpoint):
        project = make_project(folder)
        self.config, self.checkpoint, self.popsicle, self.sessions = project.config, checkpoint, Popsicle(), 0
        mask = np.zeros(SHAPE, np.uint8)
        mask[8:14, :, 10:30] = 1
        for run in RUNS:
            write_segmentation(project, run, SegmentationUri("ribosome", "mask", "1", SPACING, "binary"), mask)
            coarse = SegmentationUri("ribosome", "mask", "2", 2 * SPACING, "binary")
            write_segmentation(project, run, coarse, np.ascontiguousarray(mask[::2, ::2, ::2]))
            bottom, top = clicks(BOTTOM), clicks(TOP)
            for session, points in (("bottom", bottom), ("top", top), ("both", np.concatenate([bottom, top]))):
                if run != "TS_2":  # nobody clicked there
                    write_picks(project, run, PicksUri("ribosome", "clicks", session), Points.at(points))
        self.mask = mask
        self.every = self()
        assert sum(len(points) for sets in self.every.values() for points in sets.values()) > 30

    def localize(self, *options, code=0, runs=("TS_1", "TS_3")):
        """What the command says; --threshold 0.2 finds many."""
        self.sessions += 1
        base = ("-c", self.config, "-i", "wbp", "-o", f":net/{self.sessions}", "--device", "cpu", "--threshold", 0.2)
        asked = [part for run in runs for part in ("-r", run)]
        sizes = ("--min-volume", 0, "--merge", 0)
        return self.popsicle("localize", self.checkpoint, *base, *sizes, *asked, *options, code=code)

    def __call__(self, *options):
        self.localize(*options)
        return self.read(self.sessions)

    def read(self, session):
        project = open_project(self.config)
        return {run: read.read_picks(project, run, [picks_uri(f"*:net/{session}")]) for run in ("TS_1", "TS_3")}

    def centers(self, found):
        """(N, 3) zyx in voxels, of all objects and runs, sorted."""
        sets = [points.positions for by_object in found.values() for points in by_object.values()]
        return np.array(sorted(map(tuple, to_voxels(np.concatenate(sets), SPACING).round(6)))).reshape(-1, 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory, checkpoint):
    return World(tmp_path_factory.mktemp("where") / "project", checkpoint)


class TestBorder:
    def test_it_leaves_those_away_from_the_faces(self, world):
        every, found = world.centers(world.every), world.centers(world("--border", 55))
        away = ((every >= 5.5) & (every <= np.array(SHAPE) - 1 - 5.5)).all(axis=1)
        assert 0 < away.sum() < len(every)
        np.testing.assert_array_equal(found, every[away])

    def test_nothing_may_be_left(self, world):
        assert len(world.centers(world("--border", 500))) == 0


class TestExclude:
    @pytest.mark.parametrize("session", [1, 2])
    @pytest.mark.parametrize("distance", [0, 35])
    def test_none_in_it_or_near(self, world, session, distance):
        every = world.centers(world.every)
        near = ("--exclude-distance", distance) if distance else ()
        found = world.centers(world("--exclude", f"ribosome:mask/{session}", *near))
        low, high = np.array([8, 0, 10]) - 0.5, np.array([14, 48, 30]) - 0.5  # a box, of both voxel spacings
        off = np.maximum(np.maximum(low - every, every - high), 0)
        away = np.linalg.norm(off, axis=1) > distance / SPACING
        assert 0 < away.sum() < len(every)
        np.testing.assert_array_equal(found, every[away])

    def test_a_run_without_it_fails(self, world):
        result = world.localize("--exclude", "ribosome:nobody/1", code=1)
        assert "no segmentation ribosome:nobody/1" in result.stderr
        assert "2 failed" in result.stderr

    def test_two_that_match(self, world):
        assert "several match" in world.localize("--exclude", "ribosome:mask/*", code=1).stderr

    def test_pick_stays_away_too(self, world):
        base = ("pick", "-c", world.config, "-i", "truth:truth/0?multilabel=true", "-r", "TS_1")
        world.popsicle(*base, "-o", ":all/1")
        world.popsicle(*base, "-o", ":away/1", "--exclude", "ribosome:mask/1", "--border", 50)
        project = open_project(world.config)
        every, away = (
            np.concatenate([p.positions for p in read.read_picks(project, "TS_1", [picks_uri(uri)]).values()])
            for uri in ("*:all/1", "*:away/1")
        )
        z, y, x = to_voxels(every, SPACING).T
        inside = (z >= 7.5) & (z < 13.5) & (x >= 9.5) & (x < 29.5)
        faces = np.stack([z >= 5, z <= 18, y >= 5, y <= 42, x >= 5, x <= 42]).all(axis=0)
        np.testing.assert_array_equal(away, every[~inside & faces])
        assert len(away) < len(every)


class TestSample:
    CLICKED = ("--sample", "ribosome:clicks/both")
    TWO = ("--sample", "ribosome:clicks/top", "--sample", "ribosome:clicks/bottom")
    MASK = ("--sample", "ribosome:mask/1@10")
    COARSE = ("--sample", "ribosome:mask/2@20")

    @pytest.mark.parametrize("sample", [CLICKED, TWO])
    def test_picks_lie_between_the_clicks(self, world, sample):
        z = world.centers(world(*sample))[:, 0]
        assert len(z) > 5
        assert (z >= BOTTOM / SPACING).all()
        assert (z <= TOP / SPACING).all()
        assert len(z) < len(world.centers(world.every))

    def test_one_set_or_two_are_the_same(self, world):
        one, two = world.centers(world(*self.CLICKED)), world.centers(world(*self.TWO))
        np.testing.assert_allclose(one, two, atol=0.01)

    def test_a_margin(self, world):
        wide = world.centers(world(*self.CLICKED, "--sample-margin", 20))[:, 0]
        narrow = world.centers(world(*self.CLICKED, "--sample-margin", -20))[:, 0]
        assert len(narrow) < len(wide)
        assert (wide >= 5).all()
        assert (wide <= 20).all()
        assert (narrow >= 9).all()
        assert (narrow <= 16).all()

    @pytest.mark.parametrize("sample", [MASK, COARSE])
    def test_a_segmentation(self, world, sample):
        z, _, x = world.centers(world(*sample)).T
        assert len(z) > 3
        assert ((z >= 7.5) & (z <= 13.5) & (x >= 9.5) & (x <= 29.5)).all()

    @pytest.mark.parametrize("sample", [CLICKED, TWO, MASK])
    def test_nothing_outside_is_segmented(self, world, sample):
        world.sessions += 1
        out = f"labels:sample/{world.sessions}?multilabel=true"
        base = ("-c", world.config, "-i", "wbp", "-r", "TS_1", "--device", "cpu", "--threshold", 0.2)
        world.popsicle("segment", world.checkpoint, *base, *sample, "-o", out)
        volume = read.read_segmentation(open_project(world.config), "TS_1", segmentation_uri(out)).numpy()
        planes = np.flatnonzero(volume.any(axis=(1, 2)))
        low, high = (8, 13) if sample == self.MASK else (7, 18)
        assert planes.min() >= low
        assert planes.max() <= high
        assert planes.max() - planes.min() >= 3

    def test_it_goes_with_instances_and_border(self, world):
        found = world(*self.CLICKED, "--border", 40, "--instances")["TS_1"]
        assert sum(map(len, found.values())) > 1
        for name, points in found.items():
            out = f"{name}:net/{world.sessions}?instance=true"
            volume = read.read_segmentation(open_project(world.config), "TS_1", segmentation_uri(out)).numpy()
            assert points.instance_ids.tolist() == list(range(1, len(points) + 1))
            assert set(np.unique(volume)) == {0, *points.instance_ids.tolist()}
            assert not volume[:7].any()
            assert not volume[19:].any()

    @pytest.mark.parametrize("sample", [CLICKED, TWO])
    def test_a_run_without_clicks_fails_alone(self, world, sample):
        result = world.localize(*sample, "--json", runs=RUNS, code=1)
        rows = json.loads(result.stdout)["runs"]
        assert [row["status"] for row in rows] == ["done", "failed", "done"]
        assert "run TS_2 has no picks ribosome:clicks/" in rows[1]["error"]
        assert not read.read_picks(open_project(world.config), "TS_2", [picks_uri(f"*:net/{world.sessions}")])

    @pytest.mark.parametrize(
        ("sample", "reason"),
        [
            (("--sample", "*:truth/0"), "2 sets of picks *:truth/0"),
            (("--sample", "ribosome:clicks/*"), "two pick sets of ribosome"),
            (("--sample", "ribosome:mask/9@10"), "no segmentation ribosome:mask/9@10"),
            (("--sample", "ribosome:clicks/top"), "two surfaces"),
            (("--sample", "ribosome:clicks/top", "--sample", "ribosome:clicks/top"), "only 0 angstrom apart"),
            (("--sample", "ribosome:clicks/both", "--sample-margin", "-100"), "nothing of the volume would be left"),
        ],
    )
    def test_what_makes_no_sample_fails_the_run(self, world, sample, reason):
        result = world.localize(*sample, code=1)
        assert "run TS_1 failed" in result.stderr
        assert reason in result.stderr

    def test_empty_sets(self, world):
        project = open_project(world.config)
        write_picks(project, "TS_1", PicksUri("ribosome", "none", "1"), Points.at([]))
        write_segmentation(
            project, "TS_1", SegmentationUri("apo-ferritin", "none", "1", SPACING, "binary"), np.zeros(SHAPE, np.uint8)
        )
        assert "run TS_1 failed" in world.localize("--sample", "ribosome:none/1", runs=("TS_1",), code=1).stderr
        result = world.localize("--sample", "apo-ferritin:none/1@10", runs=("TS_1",), code=1)
        assert "the mask of the sample is empty" in result.stderr


@settings(deadline=None, derandomize=True, max_examples=50)
@given(seed=st.integers(0, 10**6), border=st.floats(0, 120), spacing=st.sampled_from([5.0, 10.0, 13.3]))
def test_the_border_is_in_angstrom(seed, border, spacing):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, np.array(SHAPE) - 1, (20, 3))
    scores = np.sort(rng.random(20))[::-1]
    found = {o.name: Found(centers, scores, np.ones(20, int), 1.0, np.arange(20)) for o in OBJECTS}
    kept = allowed(None, "TS_1", Where(border), found, Grid(SHAPE, spacing), None)
    off = np.minimum(centers, np.array(SHAPE) - 1 - centers).min(axis=1) * spacing
    clear = np.abs(off - border) > 1e-6  # of rounding
    for candidates in kept.values():
        np.testing.assert_array_equal(np.isin(np.arange(20), candidates.seeds)[clear], (off >= border)[clear])
        assert (np.diff(candidates.scores) <= 0).all()
