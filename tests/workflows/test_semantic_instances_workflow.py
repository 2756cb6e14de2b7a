"""`popsicle instances` and `popsicle review` on a small project."""

import json

import numpy as np
import pytest
import zarr

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import SegmentationUri, TomogramUri, picks_uri, segmentation_uri
from copick_tools.data.write import write_segmentation, write_segmentation_volume, write_tomogram
from copick_tools.recipes.results import RunsResult
from copick_tools.recipes.review_results import InstancesPlan, ReviewResult
from copick_tools.volumes.shapes import Shapes
from copick_tools.workflows.semantic_instances import Instancing, Methods, instances

SEMANTIC = "truth:truth/0?multilabel=true"
PANOPTIC = "cells:me/1?panoptic=true"
SHAPE = (24, 48, 48)


def stored(project, uri, run="TS_1"):
    return read.read_segmentation(open_project(project.config), run, segmentation_uri(uri))


def panoptic(project, uri=PANOPTIC, run="TS_1"):
    """Labels and ids."""
    found = stored(project, uri, run)
    return found.of_channel("label").numpy(), found.of_channel("instance").numpy()


def write(project, name, volume, kind="multilabel", run="TS_1", spacing=10.0):
    write_segmentation(project, run, SegmentationUri(name, "me", "0", spacing, kind), volume)


def store_raw(entry, volume):
    """In place of a stored volume, numbers of any type."""
    store = zarr.open(entry.zarr(), mode="a")
    del store["0"]
    store.create_dataset("0", data=volume, chunks=volume.shape, dimension_separator="/")


def counts(document):
    return {row.run: row.counts for row in RunsResult.model_validate(document).runs}


def boxes(*corners, side=6, label=1):
    volume = np.zeros(SHAPE, np.uint8)
    for z, y, x in corners:
        volume[z : z + side, y : y + side, x : x + side] = label
    return volume


class TestInstances:
    def test_several_objects_are_panoptic(self, popsicle, project):
        made = counts(popsicle.json("instances", "-c", project.config, "-i", SEMANTIC, "-o", PANOPTIC))
        semantic = stored(project, SEMANTIC).numpy()
        labels, ids = panoptic(project)
        np.testing.assert_array_equal(labels, semantic)
        np.testing.assert_array_equal(ids > 0, semantic > 0)
        assert ids.dtype == np.uint16
        assert made["TS_3"]["apo-ferritin"] == 0
        for name, label in (("ribosome", 1), ("apo-ferritin", 2)):
            assert made["TS_1"][name] == ids[labels == label].max() == len(np.unique(ids[labels == label]))
        assert stored(project, PANOPTIC).entry.segments()[0] == ("apo-ferritin", 1)

    def test_one_object(self, popsicle, project):
        uri = "apo-ferritin:me/1?instance=true"
        made = counts(popsicle.json("instances", "-c", project.config, "-i", SEMANTIC, "-o", uri, "--split", "train"))
        assert list(made) == ["TS_1"]
        found = stored(project, uri)
        assert found.entry.instance_ids().tolist() == list(range(1, made["TS_1"]["apo-ferritin"] + 1))
        np.testing.assert_array_equal(found.numpy() > 0, stored(project, SEMANTIC).numpy() == 2)

    def test_a_binary_segmentation_is_its_object(self, popsicle, project):
        write(project, "ribosome", 3 * boxes((2, 2, 2), (2, 8, 2), (12, 30, 30)).astype(np.int8), "binary")
        base = ("instances", "-c", project.config, "-i", "ribosome:me/0@10", "-r", "TS_1")
        assert counts(popsicle.json(*base, "-o", "ribosome:me/1?instance=true")) == {"TS_1": {"ribosome": 2}}
        popsicle(*base, "-o", PANOPTIC)
        labels, ids = panoptic(project)
        assert set(np.unique(labels)) == {0, 1}
        assert ids.max() == 2
        refused = popsicle(*base, "-o", "apo-ferritin:me/1?instance=true", code=1).stderr
        assert "holds ribosome alone" in refused

    def test_finished_runs_are_skipped(self, popsicle, project):
        base = ("instances", "-c", project.config, "-i", SEMANTIC, "-o", PANOPTIC)
        popsicle(*base, "-r", "TS_1")
        assert "2 done, 1 skipped" in popsicle(*base).stderr
        assert "3 done, 0 skipped" in popsicle(*base, "--overwrite", "--min-volume", "300", "-w", "2").stderr
        labels, ids = panoptic(project)
        assert np.bincount(ids[labels == 1]).max() > 300
        assert not (labels == 2).any()  # those of apo-ferritin are smaller

    def test_a_dry_run_looks_for_boundaries(self, popsicle, project):
        base = ("instances", "-c", project.config, "-i", SEMANTIC, "-o", PANOPTIC, "--dry-run", "--method", "bounded")
        write(project, "apo-ferritin", boxes((2, 2, 2)), "binary")
        write(project, "apo-ferritin", boxes((2, 2, 2))[:12], "binary", run="TS_2")
        found = popsicle.json(*base, "--boundary", "apo-ferritin:me/0")
        assert [row["status"] for row in found["runs"][:2]] == ["planned", "impossible"]  # another grid in the second
        assert "shape" in found["runs"][1]["error"]
        lacking = popsicle.json(*base, "--boundary", "apo-ferritin:you/0")["runs"]
        assert {row["status"] for row in lacking} == {"impossible"}
        write(project, "none", np.zeros(SHAPE, np.uint8))
        nothing = ("-r", "TS_1", "-i", "none:me/0?multilabel=true", "--boundary", "apo-ferritin:you/0")
        (row,) = popsicle.json(*base[:3], *nothing, *base[5:])["runs"]
        assert row["status"] == "planned"  # what isn't there needs no boundary

    def test_dry_run_does_nothing(self, popsicle, project):
        base = ("instances", "-c", project.config, "-i", SEMANTIC, "-o", PANOPTIC)
        popsicle(*base, "-r", "TS_1")
        plan = InstancesPlan.model_validate(popsicle.json(*base, "--dry-run", "--method", "watershed"))
        assert [row.status for row in plan.runs] == ["finished", "planned", "planned"]
        assert plan.methods.of("ribosome").method == "watershed"
        words = popsicle(*base, "--dry-run", "--method", "watershed", "--neck", "0.5")
        assert "ribosome: watershed, neck 0.5" in words.stderr
        assert "TS_2  planned" in words.stdout
        assert not read.find_segmentations(open_project(project.config), "TS_2", segmentation_uri(PANOPTIC))
        missing = popsicle.json(*base[:3], "-i", "nothing:a/b?multilabel=true", "-o", PANOPTIC, "--dry-run")
        assert {row["status"] for row in missing["runs"]} == {"impossible"}

    def test_one_bad_run_does_not_stop_the_others(self, popsicle, project):
        write(project, "some", boxes((2, 2, 2)), run="TS_2")
        document = popsicle.json(
            "instances", "-c", project.config, "-i", "some:me/0?multilabel=true", "-o", PANOPTIC, code=1
        )
        assert [row["status"] for row in document["runs"]] == ["failed", "done", "failed"]
        assert "no segmentation some" in document["runs"][0]["error"]

    def test_touching_objects(self, popsicle, project):
        grid = np.indices(SHAPE)
        two = [sum((a - c) ** 2 for a, c in zip(grid, center)) <= 49 for center in ((12, 24, 17), (12, 24, 30))]
        write(project, "pair", (two[0] | two[1]).astype(np.uint8))
        base = ("instances", "-c", project.config, "-i", "pair:me/0?multilabel=true", "-r", "TS_1")
        fused = counts(popsicle.json(*base, "-o", "ribosome:me/1?instance=true"))
        apart = counts(popsicle.json(*base, "-o", "ribosome:me/2?instance=true", "--method", "watershed"))
        assert (fused["TS_1"]["ribosome"], apart["TS_1"]["ribosome"]) == (1, 2)
        ids = stored(project, "ribosome:me/2?instance=true").numpy()
        for mask in two:
            assert (ids[mask] == np.bincount(ids[mask])[1:].argmax() + 1).mean() > 0.95

    def test_a_method_for_each_object(self, popsicle, project, tmp_path):
        labels = boxes((4, 4, 4), (4, 4, 14)) + boxes((14, 30, 4), (14, 30, 13), label=2)
        write(project, "mixed", labels)
        write(project, "ribosome", boxes((0, 0, 9), side=14), "binary")
        (tmp_path / "methods.yaml").write_text("objects: {apo-ferritin: {method: network, join: 4}}")
        base = ("instances", "-c", project.config, "-i", "mixed:me/0?multilabel=true", "-r", "TS_1")
        made = counts(popsicle.json(*base, "-o", PANOPTIC, "--methods", tmp_path / "methods.yaml"))
        assert made == {"TS_1": {"apo-ferritin": 1}}  # the other one is left out
        assert set(np.unique(panoptic(project)[0])) == {0, 2}
        (tmp_path / "methods.yaml").write_text("objects: {apo-ferritin: {method: network, join: 4}}\nothers: {}")
        made = counts(popsicle.json(*base, "-o", PANOPTIC, "--methods", tmp_path / "methods.yaml", "--overwrite"))
        assert made == {"TS_1": {"ribosome": 2, "apo-ferritin": 1}}

    @pytest.mark.parametrize("kind", ["binary", "multilabel", "map", "finer"])
    def test_boundaries(self, popsicle, project, kind):
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:20, 10:30, 5:40] = 1
        wall = np.zeros(SHAPE, np.uint8)
        wall[:, :, 20:23] = 1
        write(project, "room", labels)
        more = ["--boundary", "apo-ferritin:me/0@10"]
        if kind == "binary":
            write(project, "apo-ferritin", wall, "binary")
        elif kind == "finer":
            write(project, "apo-ferritin", wall.repeat(2, 0).repeat(2, 1).repeat(2, 2), "binary", spacing=5.0)
            more = ["--boundary", "apo-ferritin:me/0@5"]
        elif kind == "multilabel":
            write(project, "walls", np.where(wall, 2, 1).astype(np.uint8))
            more = ["--boundary", "walls:me/0@10?multilabel=true", "--boundary-object", "apo-ferritin"]
        else:
            write_tomogram(project, "TS_1", TomogramUri("walls", 10.0), wall * np.float32(0.9), levels=1)
            more = ["--boundary", "walls@10", "--threshold", "0.7"]
        base = (
            "instances",
            "-c",
            project.config,
            "-i",
            "room:me/0?multilabel=true",
            "-r",
            "TS_1",
            "--method",
            "bounded",
        )
        made = counts(popsicle.json(*base, "-o", "ribosome:me/1?instance=true", *more))
        assert made == {"TS_1": {"ribosome": 2}}
        ids = stored(project, "ribosome:me/1?instance=true").numpy()
        np.testing.assert_array_equal(ids > 0, labels > 0)
        assert (ids[4:20, 10:30, 5:21] == 1).all()
        assert (ids[4:20, 10:30, 23:40] == 2).all()
        if kind == "multilabel":
            refused = popsicle(*base, "-o", "ribosome:me/2?instance=true", *more[:2], code=1).stderr
            assert "holds several objects" in refused

    def test_boundaries_in_other_segmentations(self, popsicle, project):
        """One object of a panoptic one; a binary one by its name; what holds no such object is refused."""
        labels, wall = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
        labels[4:20, 10:30, 5:40], wall[:, :, 20:23] = 1, 1
        write(project, "room", labels)
        write(project, "apo-ferritin", wall, "binary")
        write(project, "walls", np.stack([2 * wall, wall]).astype(np.uint16), "panoptic")
        write_tomogram(project, "TS_1", TomogramUri("walls", 10.0), wall.astype(np.float32), levels=1)
        base = ("instances", "-c", project.config, "-i", "room:me/0?multilabel=true", "-r", "TS_1")
        base += ("-o", "ribosome:me/1?instance=true", "--overwrite", "--method", "bounded", "--boundary")
        for boundary in ("walls:me/0?panoptic=true", "apo-ferritin:me/0"):
            made = counts(popsicle.json(*base, boundary, "--boundary-object", "apo-ferritin"))
            assert made == {"TS_1": {"ribosome": 2}}
        refused = popsicle(*base, "apo-ferritin:me/0", "--boundary-object", "ribosome", code=1).stderr
        assert "holds no ribosome beside others" in refused
        assert "is a map" in popsicle(*base, "walls@10", "--boundary-object", "apo-ferritin", code=2).stderr
        assert "no object 'wal'" in popsicle(*base, "apo-ferritin:me/0", "--boundary-object", "wal", code=1).stderr

    @pytest.mark.parametrize("dtype", [">u2", ">i4", "<i8", "<f4", "|b1"])
    @pytest.mark.parametrize("method", ["components", "watershed", "network"])
    def test_numbers_as_other_programs_store_them(self, popsicle, project, dtype, method):
        write(project, "other", boxes((2, 2, 2), (12, 20, 20)))
        entry = stored(project, "other:me/0?multilabel=true").entry
        store_raw(entry, boxes((2, 2, 2), (12, 20, 20)).astype(dtype))
        base = ("instances", "-c", project.config, "-i", "other:me/0?multilabel=true", "-r", "TS_1", "-o", PANOPTIC)
        assert counts(popsicle.json(*base, "--method", method))["TS_1"]["ribosome"] == 2
        np.testing.assert_array_equal(panoptic(project)[0], boxes((2, 2, 2), (12, 20, 20)))

    def test_grids_that_are_far_finer_are_refused(self, popsicle, project):
        base = ("instances", "-c", project.config, "-i", SEMANTIC, "-o", PANOPTIC, "-r", "TS_1")
        refused = popsicle(*base, "--voxel-spacing", "0.001", code=1).stderr
        assert "far finer than that of truth:truth/0" in refused
        row = popsicle.json(*base, "--voxel-spacing", "0.001", "--dry-run")["runs"][0]
        assert row["status"] == "impossible"

    def test_without_classes_as_the_text_says(self, popsicle, project):
        write(project, "near", boxes((4, 4, 4)) + boxes((4, 4, 10), (14, 30, 30), label=2))
        base = ("instances", "-c", project.config, "-i", "near:me/0?multilabel=true", "-r", "TS_1")
        assert counts(popsicle.json(*base, "-o", PANOPTIC, "--no-class-aware")) == {"TS_1": {"all": 2}}
        labels, ids = panoptic(project)
        assert set(np.unique(labels)) == {0, 1, 2}
        assert ids[4, 4, 4] == ids[4, 4, 10] == 1
        assert ids[14, 30, 30] == 2
        popsicle(*base, "-o", "ribosome:me/1?instance=true", "--no-class-aware")
        np.testing.assert_array_equal(stored(project, "ribosome:me/1?instance=true").numpy(), ids)

    @pytest.mark.parametrize("spacing", [5.0, 17.0, 20.0])
    def test_on_another_grid(self, popsicle, project, spacing):
        write(project, "wide", boxes((2, 2, 2), (12, 20, 20)) + boxes((12, 36, 4), label=2))
        base = ("instances", "-c", project.config, "-i", "wide:me/0?multilabel=true", "-r", "TS_1")
        made = counts(popsicle.json(*base, "-o", PANOPTIC, "--voxel-spacing", spacing))
        assert made == {"TS_1": {"ribosome": 2, "apo-ferritin": 1}}
        labels, ids = panoptic(project)
        assert labels.shape == SHAPE
        assert stored(project, PANOPTIC).voxel_spacing == 10
        semantic = stored(project, "wide:me/0?multilabel=true").numpy()
        for label, number in ((1, 1), (1, 2), (2, 1)):
            mask = (labels == label) & (ids == number)
            assert (semantic[mask] == label).mean() > 0.5
            assert mask.sum() == pytest.approx(6**3, rel=0.8)
        assert ids[5, 5, 5] == 1
        assert ids[15, 23, 23] == 2

    def test_labels_that_no_object_has(self, popsicle, project):
        write(project, "odd", boxes((2, 2, 2)) + boxes((12, 20, 20), label=9))
        base = ("instances", "-c", project.config, "-i", "odd:me/0?multilabel=true", "-r", "TS_1")
        assert "holds label 9" in popsicle(*base, "-o", PANOPTIC, code=1).stderr
        popsicle(*base, "-o", "ribosome:me/1?instance=true")
        write(project, "odd", boxes((2, 2, 2)) + boxes((12, 20, 20), label=255))  # nobody annotated those
        assert counts(popsicle.json(*base, "-o", PANOPTIC)) == {"TS_1": {"ribosome": 1, "apo-ferritin": 0}}

    def test_an_empty_segmentation(self, popsicle, project):
        write(project, "none", np.zeros(SHAPE, np.uint8))
        base = ("instances", "-c", project.config, "-i", "none:me/0?multilabel=true", "-r", "TS_1")
        for method in ("components", "watershed", "network"):
            out = "ribosome:me/1?instance=true" if method == "components" else f"{method}:me/1?panoptic=true"
            assert set(counts(popsicle.json(*base, "-o", out, "--method", method))["TS_1"].values()) == {0}

    @pytest.mark.parametrize(
        ("arguments", "code", "reason"),
        [
            (("-i", SEMANTIC, "-o", "cells:me/1?multilabel=true"), 2, "holds no instances"),
            (("-i", PANOPTIC, "-o", PANOPTIC), 2, "holds instances already"),
            (("-i", SEMANTIC, "-o", "ribosom:me/1?instance=true"), 1, "did you mean ribosome"),
            (("-i", SEMANTIC, "-o", "cells:me/1@20?panoptic=true"), 1, "the output 20"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--voxel-spacing", "0"), 2, "positive"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--neck", "2"), 2, "--neck"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--method", "network", "--neck", "0.5"), 2, "neck goes with"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--method", "bounded"), 2, "needs a boundary\n"),
            (
                ("-i", SEMANTIC, "-o", PANOPTIC, "--no-class-aware", "--method", "network"),
                2,
                "Error: --no-class-aware goes with",
            ),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--method", "network", "--join", "1e300"), 2, "Error: --join: "),
            (
                ("-i", SEMANTIC, "-o", PANOPTIC, "--method", "bounded", "--boundary", "no:such/one"),
                1,
                "no segmentation",
            ),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--methods", "m.yaml", "--neck", "0.5"), 2, "--neck doesn't go with"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--methods", "nowhere.yaml"), 1, "can't read nowhere.yaml"),
            (("-i", SEMANTIC, "-o", PANOPTIC, "--methods", "m.yaml"), 1, "no object 'ribosom'"),
            (("-i", SEMANTIC, "-o", "apo-ferritin:a/b?instance=true", "--methods", "n.yaml"), 2, "no method says"),
        ],
    )
    def test_mistakes(self, popsicle, shared_project, tmp_path, monkeypatch, arguments, code, reason):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "m.yaml").write_text("objects: {ribosom: {}}")
        (tmp_path / "n.yaml").write_text("objects: {ribosome: {}}")
        result = popsicle("instances", "-c", shared_project.config, *arguments, "-r", "TS_1", code=code)
        assert reason in result.stderr


def test_seventy_thousand_instances_return(project):
    labels = np.zeros((84, 84, 84), np.uint8)
    labels[::2, ::2, ::2] = 1
    write(project, "many", labels)
    wanted = Instancing(
        segmentation_uri("many:me/0?multilabel=true"),
        segmentation_uri("ribosome:me/1?instance=true", output=True),
        Methods(others={}),
    )
    (result,) = instances(project, ["TS_1"], wanted)
    assert result.value == {"ribosome": 42**3}
    ids = stored(project, "ribosome:me/1?instance=true").numpy()
    assert ids.dtype == np.uint32
    np.testing.assert_array_equal(np.unique(ids), np.arange(42**3 + 1))


class TestStorage:
    @pytest.mark.slow
    def test_chunk_by_chunk(self, project, monkeypatch):
        """As copick stores it at once, whatever the chunks."""
        monkeypatch.setattr("copick_tools.volumes.blocks.blocks.__defaults__", (0, 7))
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 3, SHAPE).astype(np.uint32)
        both = np.stack([np.where(ids > 0, rng.integers(1, 3, SHAPE), 0), ids])

        class Two:
            shape = SHAPE

            def __getitem__(self, region):
                return both[(slice(None), *region)]

        uri = SegmentationUri("cells", "me", "1", 10.0, "panoptic")
        write_segmentation_volume(project, "TS_1", uri, Two(), np.uint16)
        labels, found = panoptic(project)
        np.testing.assert_array_equal(np.stack([labels, found]), both)
        write_segmentation(project, "TS_1", SegmentationUri("cells", "me", "2", 10.0, "panoptic"), both)
        one, other = (stored(project, f"cells:me/{n}?panoptic=true").entry for n in (1, 2))
        assert one.segments() == other.segments()
        uri = SegmentationUri("ribosome", "me", "1", 10.0, "instance")
        write_segmentation_volume(project, "TS_1", uri, ids, np.uint16)
        np.testing.assert_array_equal(stored(project, "ribosome:me/1?instance=true").numpy(), ids)

    def test_too_large_an_id_leaves_nothing(self, project):
        uri = SegmentationUri("ribosome", "me", "1", 10.0, "instance")
        with pytest.raises(ValueError, match="do not fit"):
            write_segmentation_volume(project, "TS_1", uri, np.full(SHAPE, 70_000), np.uint16)
        assert not read.find_segmentations(open_project(project.config), "TS_1", segmentation_uri(str(uri)))


# ---- review ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def reviewed(project):
    """Ribosomes as cubes: in the first run two are one, in the second one is a fragment."""
    even = [(2, y, x) for y in (2, 14, 26, 38) for x in (2, 14, 26, 38)]
    for run, volume in zip(project.run_names, (boxes(*even), boxes(*even[1:]), boxes(*even))):
        ids = np.zeros(SHAPE, np.uint16)
        for number, (z, y, x) in enumerate(even, start=1):
            part = (slice(z, z + 6), slice(y, y + 6), slice(x, x + 6))
            ids[part] = volume[part] * number * 10  # with gaps
        if run == "TS_1":
            ids[2:8, 2:8, 8:14] = ids[2:8, 2:8, 14:20] = 10
        if run == "TS_2":
            ids[2:4, 2:4, 2:4] = 7
        write_segmentation(project, run, SegmentationUri("ribosome", "me", "1", 10.0, "instance"), ids)
        labels = np.where(ids > 0, 1, 0)
        labels[15:21, 2:8, 2:8] = 2
        ids[15:21, 2:8, 2:8] = 10  # ids are within an object
        write_segmentation(project, run, SegmentationUri("all", "me", "1", 10.0, "panoptic"), np.stack([labels, ids]))
    return open_project(project.config)


class TestReview:
    def test_planted_errors_rank_first(self, popsicle, reviewed):
        base = ("review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o", ":review/1")
        result = ReviewResult.model_validate(popsicle.json(*base))
        assert [(s.run, s.id) for s in result.queue[:2]] in ([("TS_1", 10), ("TS_2", 7)], [("TS_2", 7), ("TS_1", 10)])
        assert result.queue[1].suspicion > 0.5 > 0.1 > result.queue[2].suspicion
        large = next(s for s in result.queue if s.run == "TS_1")
        assert (large.voxels, large.volume_nm3, large.extent_nm) == (648, 648.0, (18.0, 6.0, 6.0))
        assert (large.x, large.y, large.z) == (105.0, 45.0, 45.0)
        about = result.objects["ribosome"]
        assert (about.instances, about.runs, about.at_border) == (47, 3, 0)
        assert [b.instances for b in about.bins] == [47, 0, 0]
        assert about.volume_nm3.median == 216
        picks = read.read_picks(open_project(reviewed.config), "TS_1", [picks_uri("*:review/1")])
        assert list(picks) == ["ribosome"]
        assert len(picks["ribosome"]) == 15
        assert picks["ribosome"].instance_ids[0] == 10
        assert picks["ribosome"].positions[0].tolist() == [105, 45, 45]
        assert (np.diff(picks["ribosome"].scores) <= 0).all()
        assert not picks["ribosome"].trust_orientation

    def test_panoptic_is_judged_object_by_object(self, popsicle, reviewed):
        base = ("review", "-c", reviewed.config, "-i", "all:me/1?panoptic=true", "-o", ":review/1")
        result = ReviewResult.model_validate(popsicle.json(*base, "-w", 2))
        assert {name: about.instances for name, about in result.objects.items()} == {"ribosome": 47, "apo-ferritin": 3}
        assert {(s.run, s.object, s.id) for s in result.queue[:2]} == {
            ("TS_1", "ribosome", 10),
            ("TS_2", "ribosome", 7),
        }
        assert {s.suspicion for s in result.queue if s.object == "apo-ferritin"} == {0.0}
        picks = read.read_picks(open_project(reviewed.config), "TS_2", [picks_uri("*:review/1")])
        assert {name: len(points) for name, points in picks.items()} == {"apo-ferritin": 1, "ribosome": 16}

    def test_the_top_of_all_runs(self, popsicle, reviewed):
        base = ("review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o", "ribosome:review/1")
        document = popsicle.json(*base, "--top", 2)
        assert [row["counts"]["ribosome"] for row in document["runs"]] == [1, 1, 0]
        assert len(document["queue"]) == 2
        assert document["objects"]["ribosome"]["instances"] == 47
        picks = read.read_picks(open_project(reviewed.config), "TS_3", [picks_uri("*:review/1")])
        assert len(picks["ribosome"]) == 0  # nothing to look at is a statement

    def test_picks_that_are_there_stay(self, popsicle, reviewed):
        base = ("review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o", ":review/1")
        popsicle(*base, "--top", 1)
        assert "3 skipped" in popsicle(*base).stderr
        again = read.read_picks(open_project(reviewed.config), "TS_3", [picks_uri("*:review/1")])
        assert len(again["ribosome"]) == 0
        assert "3 done" in popsicle(*base, "--overwrite").stderr

    def test_picks_of_other_objects_stay(self, popsicle, reviewed):
        """Somebody works through those of one object; then the others are asked for as well."""
        base = ("review", "-c", reviewed.config, "-i", "all:me/1?panoptic=true", "--top", 1, "-o")
        popsicle(*base, "ribosome:review/1")
        document = popsicle.json(*base[:5], "-o", ":review/1")
        assert [row["counts"] for row in document["runs"]] == [{"apo-ferritin": 1}] * 3
        picks = read.read_picks(open_project(reviewed.config), "TS_3", [picks_uri("*:review/1")])
        assert {name: len(points) for name, points in picks.items()} == {"apo-ferritin": 1, "ribosome": 0}
        assert "3 skipped" in popsicle(*base, ":review/1").stderr

    @pytest.mark.parametrize("dtype", ["<f4", ">u4", "<i8", "<u8"])
    def test_ids_as_other_programs_store_them(self, popsicle, reviewed, dtype):
        base = ("review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o")
        before = popsicle.json(*base, ":review/1")
        for run in ("TS_1", "TS_2", "TS_3"):
            found = stored(reviewed, "ribosome:me/1?instance=true", run)
            store_raw(found.entry, found.numpy().astype(dtype))
        assert popsicle.json(*base, ":review/2")["queue"] == before["queue"]

    @pytest.mark.parametrize(
        ("value", "dtype", "words"),
        [
            (2**63, "<u8", "holds id 9223372036854775808"),
            (-1, "<i4", "holds id -1"),
            (0.5, "<f4", "holds 0.5"),
            (np.nan, "<f4", "holds nan"),
        ],
    )
    def test_what_is_no_id_fails_its_run_alone(self, popsicle, reviewed, value, dtype, words):
        entry = stored(reviewed, "ribosome:me/1?instance=true", "TS_2").entry
        store_raw(entry, np.full(SHAPE, value, dtype))
        document = popsicle.json(
            "review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o", ":review/1", code=1
        )
        assert [row["status"] for row in document["runs"]] == ["done", "failed", "done"]
        assert words in document["runs"][1]["error"]

    def test_ids_without_a_label(self, popsicle, reviewed):
        found = stored(reviewed, "all:me/1?panoptic=true", "TS_1")
        labels, ids = (found.of_channel(channel).numpy() for channel in ("label", "instance"))
        store_raw(found.entry, np.stack([np.where(ids == 30, 0, labels), ids]))
        result = popsicle(
            "review", "-c", reviewed.config, "-i", "all:me/1?panoptic=true", "-o", ":review/1", "-r", "TS_1", code=1
        )
        assert "holds id 30 without a label" in result.stderr

    def test_the_work_grows_with_the_instances_no_faster(self, popsicle, reviewed, monkeypatch):
        asked, whole = [], Shapes.sphericity.fget
        monkeypatch.setattr(Shapes, "sphericity", property(lambda shapes: asked.append(1) or whole(shapes)))
        popsicle("review", "-c", reviewed.config, "-i", "ribosome:me/1?instance=true", "-o", ":review/1")
        assert len(asked) == 2 * 3  # not for each of 47 instances anew

    def test_the_table(self, popsicle, reviewed):
        result = popsicle("review", "-c", reviewed.config, "-i", "all:me/1?panoptic=true", "-o", ":review/1")
        lines = result.stdout.splitlines()
        assert lines[0].split("  ")[0] == "object"
        assert "5,000-9,999" in lines[0]
        assert "apo-ferritin" in result.stdout
        assert "and 40 more" in result.stderr

    def test_a_run_without_instances_fails_alone(self, popsicle, reviewed):
        write_segmentation(
            reviewed, "TS_1", SegmentationUri("apo-ferritin", "me", "5", 10.0, "instance"), boxes((2, 2, 2))
        )
        base = ("review", "-c", reviewed.config, "-i", "apo-ferritin:me/5?instance=true", "-o", ":review/1")
        document = popsicle.json(*base, code=1)
        assert [row["status"] for row in document["runs"]] == ["done", "failed", "failed"]
        assert len(document["queue"]) == 1

    def test_no_instance_at_all(self, popsicle, project):
        write_segmentation(
            project, "TS_1", SegmentationUri("ribosome", "me", "1", 10.0, "instance"), np.zeros(SHAPE, np.uint16)
        )
        base = ("review", "-c", project.config, "-i", "ribosome:me/1?instance=true", "-o", ":review/1", "-r", "TS_1")
        document = popsicle.json(*base)
        assert document["objects"]["ribosome"]["volume_nm3"] is None
        assert json.dumps(document, allow_nan=False)
        popsicle(*base, "--overwrite")

    @pytest.mark.parametrize(
        ("arguments", "code", "reason"),
        [
            (("-i", SEMANTIC, "-o", ":review/1"), 2, "names no instances"),
            (("-i", "ribosome:me/1?instance=true", "-o", "ribosom:review/1"), 1, "did you mean ribosome"),
            (("-i", "ribosome:me/1?instance=true", "-o", ":review/1", "--top", "0"), 2, "--top is 0"),
            (("-i", "ribosome:you/1?instance=true", "-o", ":review/1"), 1, "ribosome:me/1"),
        ],
    )
    def test_mistakes(self, popsicle, reviewed, arguments, code, reason):
        assert reason in popsicle("review", "-c", reviewed.config, *arguments, code=code).stderr
