"""The options of commands that apply a checkpoint: learned thresholds, tiling, instances, and checkpoints of old."""

import csv
import importlib
import json
import shutil

import mrcfile
import numpy as np
import pytest
from cards import recast
from conftest import Popsicle, make_project
from scipy.special import expit, logit

from copick_tools.cli import predicting
from copick_tools.data import read
from copick_tools.data.hashing import file_hash
from copick_tools.data.project import open_project
from copick_tools.data.uris import PicksUri, picks_uri, segmentation_uri, tomogram_uri
from copick_tools.data.write import has_picks
from copick_tools.recipes.load import dump_yaml, load_recipe
from copick_tools.recipes.thresholds import ObjectSetting, Setting, Temperature, Thresholds
from copick_tools.types import Points
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.workflows.instances import has_instances
from copick_tools.workflows.predict import Model, Options, basis

SHARP = Temperature(temperature=0.5, bias=-1.0)
LEAST = {4.0: 0.02, 1.0: 0.4}  # least calibrated score, by beta
NAMES = ("ribosome", "apo-ferritin")


def by_hand(checkpoint):
    """Thresholds that differ from the recipe in the score alone."""
    pick = load_recipe(checkpoint.with_name("recipe.yaml")).pick.model_dump()
    settings = [
        Setting(
            beta=beta,
            rule="one-to-one",
            score=None,
            fitted=1.0,
            objects={name: ObjectSetting(**{**pick, "min_score": least}, calibration=SHARP) for name in NAMES},
        )
        for beta, least in LEAST.items()
    ]
    return Thresholds(
        task="toy",
        checkpoint=file_hash(checkpoint),
        config="copick.json",
        tomogram="wbp",
        reference=["*:truth/0"],
        runs=["TS_2"],
        folds=1,
        settings=settings,
    )


class World:
    """A project, a checkpoint with thresholds beside it, and what is found without these."""

    def __init__(self, folder, checkpoint):
        shutil.copytree(checkpoint.parent, folder / "experiment")
        self.folder, self.checkpoint = folder, folder / "experiment/best.ckpt"
        self.thresholds = folder / "experiment/thresholds.yaml"
        self.config = make_project(folder / "project").config
        self.popsicle, self.sessions = Popsicle(), 0
        self.thresholds.write_text(dump_yaml(by_hand(self.checkpoint)))
        self.plain = self("--thresholds", "none")

    def command(self, *options, code=0, checkpoint=None):
        """Localize run TS_1. What it said."""
        self.sessions += 1
        base = ("-c", self.config, "-i", "wbp", "-o", f":net/{self.sessions}", "-r", "TS_1", "--device", "cpu")
        return self.popsicle("localize", checkpoint or self.checkpoint, *base, *options, code=code)

    def __call__(self, *options, checkpoint=None):
        """The picks of run TS_1 with these options."""
        self.command(*options, checkpoint=checkpoint)
        return self.read(f"*:net/{self.sessions}")

    def read(self, uri):
        return read.read_picks(open_project(self.config), "TS_1", [picks_uri(uri)])

    def instances(self, uri):
        return read.read_segmentation(open_project(self.config), "TS_1", segmentation_uri(uri)).numpy()


@pytest.fixture(scope="module")
def world(tmp_path_factory, checkpoint):
    return World(tmp_path_factory.mktemp("world"), checkpoint)


def expected(plain, least):
    """The recipe's picks with calibrated scores, those from ``least`` up."""
    found = {}
    for name, points in plain.items():
        odds = logit(np.clip(points.scores, 1e-3, 1 - 1e-3))
        scores = 0.999 * expit(odds / SHARP.temperature + SHARP.bias) + 0.001 * points.scores
        found[name] = Points.at(points.positions[scores >= least], scores[scores >= least])
    return found


def assert_same(picks, others):
    assert set(picks) == set(others)
    for name, points in picks.items():
        np.testing.assert_allclose(points.positions, others[name].positions)
        np.testing.assert_allclose(points.scores, others[name].scores)


class TestLearnedThresholds:
    def test_they_are_used_by_default(self, world):
        found = world()
        assert_same(found, expected(world.plain, LEAST[4.0]))
        assert any((points.scores < LEAST[1.0]).any() for points in found.values())

    def test_beta_chooses_among_them(self, world):
        found = world("--beta", 1)
        assert_same(found, expected(world.plain, LEAST[1.0]))
        assert 0 < sum(map(len, found.values())) < sum(map(len, world().values()))
        assert_same(world("--beta", 4), world())
        result = world.command("--beta", 2, code=1)
        assert "no thresholds for beta 2" in result.stderr
        assert "popsicle calibrate --beta 2" in result.stderr

    def test_a_file_of_them(self, world):
        other = world.folder / "other.yaml"
        document = by_hand(world.checkpoint).model_dump(mode="json")
        for setting in document["settings"]:
            setting["objects"]["ribosome"]["min_score"] = 1.0
        other.write_text(json.dumps(document))
        found = world("--thresholds", other)
        assert len(found["ribosome"]) == 0
        assert len(found["apo-ferritin"]) == len(world()["apo-ferritin"]) > 0

    @pytest.mark.parametrize("options", [("--threshold", "0.3"), ("--method", "watershed"), ("--merge", "0")])
    def test_another_way_of_finding_replaces_them(self, world, options):
        assert_same(world(*options), world(*options, "--thresholds", "none"))

    def test_a_file_that_would_be_replaced_is_refused(self, world):
        result = world.command("--thresholds", world.thresholds, "--merge", "0.2", code=2)
        assert "--thresholds doesn't go with --merge" in result.stderr

    def test_the_model_says_which_it_goes_by(self, world):
        checkpoint = world.checkpoint
        assert Model.open(checkpoint, "cpu").learned.beta == 4
        assert Model.open(checkpoint, "cpu", Options(plain=True)).learned.beta == 1
        assert Model.open(checkpoint, "cpu", Options(plain=True, beta=4.0)).learned.beta == 4
        by_recipe = Model.open(checkpoint, "cpu", Options({"threshold": 0.3}))
        assert by_recipe.learned is None
        assert {pick.threshold for pick in by_recipe.settings.values()} == {0.3}

    def test_a_basis_tells_apart_what_picks_depend_on(self, world, tmp_path):
        shutil.copy(world.checkpoint, tmp_path)
        shutil.copy(world.thresholds, tmp_path)
        options = (Options(), Options({"min_score": 0.3}), Options(beta=1.0), Options(tiling={"tta": 2}))
        found = [basis(world.checkpoint, each) for each in (*options, Options(plain=True), Options(thresholds="none"))]
        assert len({json.dumps(each, sort_keys=True) for each in found}) == len(found)
        assert basis(tmp_path / "best.ckpt", Options()) == found[0]
        text = (tmp_path / "thresholds.yaml").read_text()
        (tmp_path / "thresholds.yaml").write_text(text.replace("min_score: 0.4", "min_score: 0.5"))
        assert basis(tmp_path / "best.ckpt", Options()) != found[0]

    def test_sizes_and_scores_replace_theirs_alone(self, world):
        assert_same(world("--min-score", "0.4"), expected(world.plain, 0.4))
        found = world("--max-volume", "0.11")
        assert sum(map(len, found.values())) < sum(map(len, world().values()))

    def test_plain_files_use_beta_one(self, world, shared_project):
        volume = world.folder / "TS_1.mrc"
        with mrcfile.new(volume, overwrite=True) as mrc:
            mrc.set_data(read.read_tomogram(shared_project, "TS_1", tomogram_uri("wbp")).numpy())
            mrc.voxel_size = 10.0
        tables = {}
        for beta in (None, 1, 4):
            out = world.folder / f"{beta}.csv"
            given = () if beta is None else ("--beta", beta)
            world.popsicle("localize", world.checkpoint, volume, "--out", out, "--device", "cpu", *given)
            with out.open(newline="") as file:
                tables[beta] = [float(row["score"]) for row in csv.DictReader(file)]
        assert tables[None] == tables[1]
        assert len(tables[1]) < len(tables[4])
        for beta in (1, 4):
            assert len(tables[beta]) == sum(map(len, world("--beta", beta).values()))
            assert min(tables[beta]) >= LEAST[beta]

    def test_those_of_another_checkpoint_are_refused(self, world, tmp_path):
        other = recast(world.checkpoint, tmp_path / "best.ckpt", lambda card: card.update(step=7))
        shutil.copy(world.thresholds, tmp_path)
        result = world.command(code=1, checkpoint=other)
        assert "was learned with another checkpoint" in result.stderr
        assert "Hint: run popsicle calibrate again; --thresholds none" in result.stderr
        assert_same(world("--thresholds", "none", checkpoint=other), world.plain)
        assert "another checkpoint" in world.command("--thresholds", world.thresholds, checkpoint=other, code=1).stderr

    def test_segment_does_without(self, world, tmp_path):
        other = recast(world.checkpoint, tmp_path / "best.ckpt", lambda card: card.update(step=7))
        shutil.copy(world.thresholds, tmp_path)
        out = "labels:net/1?multilabel=true"
        base = ("-c", world.config, "-i", "wbp", "-r", "TS_1", "--device", "cpu")
        world.popsicle("segment", other, *base, "-o", out)
        assert set(np.unique(world.instances(out))) == {0, 1, 2}

    @pytest.mark.parametrize(
        ("options", "reason", "code"),
        [
            (("--thresholds", "nowhere.yaml"), "no file nowhere.yaml", 1),
            (("--thresholds", "none", "--beta", "1"), "there are none", 2),
            (("--threshold", "0.3", "--beta", "1"), "learned thresholds, and --threshold replaces them", 2),
            (("--merge", "0", "--beta", "1"), "learned thresholds, and --merge replaces them", 2),
            (("--thresholds", ""), "--thresholds is empty", 2),
            (("--min-score", "1.5"), "--min-score 1.5 isn't between 0 and 1", 2),
            (("--min-volume", "3", "--max-volume", "2"), "is below", 2),
            (("--smoothing", "0"), "--smoothing", 2),
            (("--overlap", "1"), "--overlap", 2),
            (("--tta", "3"), "--tta", 2),
            (("--batch-size", "0"), "--batch-size", 2),
            (("--instances", "--select", "top-k=1"), "--instances doesn't go with --select", 2),
            (("--instances", "--one-per-tomogram"), "or --one-per-tomogram", 2),
            (("--border", "-1"), "--border is -1", 2),
            (("--border", "nan"), "--border is nan", 2),
            (("--exclude-distance", "5"), "--exclude-distance goes with --exclude", 2),
            (("--sample-margin", "5"), "--sample-margin goes with --sample", 2),
            (("--sample", "a:b/1", "--sample", "a:b/2", "--sample", "a:b/3"), "--sample takes", 2),
            (("--sample", "a:b/1", "--sample", "a:b/2@10"), "--sample takes", 2),
            (("--out", "x.star"), "goes with files", 2),
            (("--device", "cpu,"), "a name is missing", 2),
        ],
    )
    def test_mistakes(self, world, options, reason, code):
        assert reason in world.command(*options, code=code).stderr

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("format: popsicle-thresholds-1\n", "thresholds.yaml: "),
            ("- a\n", "holds no mapping"),
            ("a: [\n", "is no YAML"),
        ],
    )
    def test_damaged_thresholds(self, world, tmp_path, text, reason):
        shutil.copy(world.checkpoint, tmp_path)
        (tmp_path / "thresholds.yaml").write_text(text)
        assert reason in world.command(checkpoint=tmp_path / "best.ckpt", code=1).stderr

    def test_thresholds_that_lack_an_object(self, world):
        document = by_hand(world.checkpoint).model_dump(mode="json")
        for setting in document["settings"]:
            del setting["objects"]["apo-ferritin"]
        (world.folder / "fewer.yaml").write_text(json.dumps(document))
        result = world.command("--thresholds", world.folder / "fewer.yaml", code=1)
        assert "the thresholds lack apo-ferritin" in result.stderr


class TestWhatScoresAre:
    """A reader of picks has to know whether 0.8 means four in five."""

    @pytest.mark.parametrize(
        ("options", "scores", "words"),
        [
            ((), "calibrated", "thresholds were learned for F4, scores are calibrated"),
            (("--beta", 1), "calibrated", "thresholds were learned for F1, scores are calibrated"),
            (("--min-score", 0.3), "calibrated", "thresholds were learned for F4"),
            (("--thresholds", "none"), "probability", "thresholds are the recipe's; scores are mean probabilities"),
            (("--threshold", 0.3), "probability", "thresholds are the recipe's"),
        ],
    )
    def test_localize(self, world, options, scores, words):
        result = world.command(*options, "--json")
        assert json.loads(result.stdout)["scores"] == scores
        assert words in result.stderr

    def test_files(self, world, shared_project):
        volume = world.folder / "said.mrc"
        with mrcfile.new(volume, overwrite=True) as mrc:
            mrc.set_data(read.read_tomogram(shared_project, "TS_1", tomogram_uri("wbp")).numpy())
            mrc.voxel_size = 10.0
        base = ("localize", world.checkpoint, volume, "--device", "cpu", "--json")
        result = world.popsicle(*base, "--out", world.folder / "said.csv")
        assert json.loads(result.stdout)["scores"] == "calibrated"
        assert "thresholds were learned for F1" in result.stderr
        result = world.popsicle(*base, "--out", world.folder / "plain.csv", "--thresholds", "none")
        assert json.loads(result.stdout)["scores"] == "probability"

    def test_pick(self, world):
        base = ("pick", "-c", world.config, "-i", "truth:truth/0?multilabel=true", "-r", "TS_1", "-o", ":said/1")
        assert json.loads(world.popsicle(*base, "--json").stdout)["scores"] == "volume"

    def test_segment_has_none(self, world):
        base = ("segment", world.checkpoint, "-c", world.config, "-i", "wbp", "-r", "TS_1", "--device", "cpu")
        result = world.popsicle(*base, "-o", "labels:said/1?multilabel=true", "--json")
        assert json.loads(result.stdout)["scores"] is None

    @pytest.mark.parametrize(("lacking", "scores"), [(NAMES, "probability"), (NAMES[:1], "calibrated")])
    def test_learned_without_calibration(self, world, tmp_path, lacking, scores):
        document = by_hand(world.checkpoint).model_dump(mode="json")
        for setting in document["settings"]:
            for name in lacking:
                setting["objects"][name]["calibration"] = None
        (tmp_path / "t.yaml").write_text(json.dumps(document))
        result = world.command("--thresholds", tmp_path / "t.yaml", "--json")
        assert json.loads(result.stdout)["scores"] == scores
        assert "thresholds were learned for F4" in result.stderr
        assert "mean probabilities" in result.stderr
        assert ("ribosome" in result.stderr) == (scores == "calibrated")


class TestTiling:
    def test_options_reach_the_predictor(self, world, monkeypatch):
        seen, real = [], Model.predict

        def predict(self, *positional, **options):
            seen.append((self.predictor.overlap, self.predictor.tta, self.predictor.batch_size))
            return real(self, *positional, **options)

        monkeypatch.setattr(Model, "predict", predict)
        world.command()
        world.command("--overlap", "0.5", "--tta", "2", "--batch-size", "3")
        assert seen[0][:2] == (0.25, 1)
        assert seen[1] == (0.5, 2, 3)

    def test_more_orientations_give_other_scores(self, world):
        one, four = (world("--thresholds", "none", "--tta", tta)["ribosome"].scores for tta in (1, 4))
        assert len(one) != len(four) or not np.allclose(one, four, atol=1e-4)

    def test_nothing_given_is_nothing_set(self):
        options = predicting.take_options({"overlap": None, "tta": "4", "method": None, "threshold": 0.0, "beta": None})
        assert options.tiling == {"tta": 4}
        assert options.given == {"threshold": 0.0}
        assert (options.beta, options.thresholds, options.plain) == (None, None, False)


def near(instances, points, radius):
    """Assert that the voxels of each pick's id lie around it, and that its center is their middle."""
    for center, number in zip(to_voxels(points.positions, 10.0), points.instance_ids):
        voxels = np.argwhere(instances == number)
        assert len(voxels), number
        assert np.linalg.norm(voxels.mean(axis=0) - center) < 1.5
        assert np.linalg.norm(voxels - center, axis=1).max() < radius


class TestInstances:
    """Beside each pick set, an instance segmentation of the same name."""

    def both(self, world, session):
        """Picks and instance segmentations, by object; they agree."""
        picks = world.read(f"*:{session}")
        volumes = {name: world.instances(f"{name}:{session}?instance=true") for name in picks}
        for name, points in picks.items():
            assert points.instance_ids.tolist() == list(range(1, len(points) + 1))
            assert set(np.unique(volumes[name])) == {0, *points.instance_ids.tolist()}
            assert volumes[name].shape == (24, 48, 48)
        return picks, volumes

    @pytest.mark.parametrize(
        ("method", "threshold"),
        [("components", 0.5), ("watershed", 0.5), ("mean-shift", 0.5), ("peaks", 0.3), ("mean-pool", 0.3)],
    )
    def test_ids_are_those_of_the_picks(self, world, method, threshold):
        picks = world("--method", method, "--threshold", threshold, "--instances")
        assert set(picks) == set(NAMES)
        assert all(map(len, picks.values()))
        assert_same(picks, world("--method", method, "--threshold", threshold))
        again, volumes = self.both(world, f"net/{world.sessions - 1}")
        assert_same(again, picks)
        for name, points in picks.items():
            near(volumes[name], points, 15.0)
        if method not in ("peaks", "mean-pool"):  # there a voxel is of one object
            assert not ((volumes["ribosome"] > 0) & (volumes["apo-ferritin"] > 0)).any()

    def test_no_flag_no_ids(self, world):
        picks = world()
        assert all(points.instance_ids is None or not points.instance_ids.any() for points in picks.values())
        for name in NAMES:
            assert not has_instances(open_project(world.config), "TS_1", PicksUri(name, "net", str(world.sessions)))

    def test_what_is_left_out_has_no_voxels(self, world):
        every = world("--thresholds", "none")
        world("--thresholds", "none", "--border", 60, "--instances")
        picks, _ = self.both(world, f"net/{world.sessions}")
        assert 0 < sum(map(len, picks.values())) < sum(map(len, every.values()))

    def test_one_object_alone(self, world):
        base = ("-c", world.config, "-i", "wbp", "-r", "TS_1", "--device", "cpu", "--instances")
        world.popsicle("localize", world.checkpoint, *base, "-o", "apo-ferritin:one/1")
        picks, _ = self.both(world, "one/1")
        assert set(picks) == {"apo-ferritin"}
        assert not has_instances(open_project(world.config), "TS_1", PicksUri("ribosome", "one", "1"))

    def test_finished_means_both(self, world):
        base = ("-c", world.config, "-i", "wbp", "-r", "TS_1", "--device", "cpu", "-o", ":both/1")
        world.popsicle("localize", world.checkpoint, *base)
        assert "1 done, 0 skipped" in world.popsicle("localize", world.checkpoint, *base, "--instances").stderr
        assert "0 done, 1 skipped" in world.popsicle("localize", world.checkpoint, *base, "--instances").stderr
        self.both(world, "both/1")
        (store,) = world.config.parent.glob("ExperimentRuns/TS_1/InstanceSegmentations/*both_1_apo-ferritin*")
        shutil.rmtree(store)
        assert "1 done, 0 skipped" in world.popsicle("localize", world.checkpoint, *base, "--instances").stderr
        assert "0 done, 1 skipped" in world.popsicle("localize", world.checkpoint, *base).stderr
        self.both(world, "both/1")

    @pytest.mark.parametrize("command", ["localize", "pick"])
    def test_killed_before_the_last_one_it_is_made_again(self, world, monkeypatch, command):
        """Picks come first, so instances that are there are always those of the picks."""
        module = importlib.import_module(f"copick_tools.workflows.{command}")
        real = module.write_instances

        def killed(project, picks, *others):
            if picks.object == "apo-ferritin":
                raise KeyboardInterrupt
            real(project, picks, *others)

        base = ("-c", world.config, "-r", "TS_1", "-o", f":{command}-killed/1", "--instances")
        if command == "localize":
            base = (world.checkpoint, *base, "-i", "wbp", "--device", "cpu")
        else:
            base = (*base, "-i", "truth:truth/0?multilabel=true")
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_instances", killed)
            world.popsicle(command, *base, code=1)
        project = open_project(world.config)
        there = [has_picks(project, "TS_1", PicksUri(name, f"{command}-killed", "1")) for name in NAMES]
        ids = [has_instances(project, "TS_1", PicksUri(name, f"{command}-killed", "1")) for name in NAMES]
        assert (there, ids) == ([True, True], [True, False])
        assert "1 done, 0 skipped" in world.popsicle(command, *base).stderr
        self.both(world, f"{command}-killed/1")

    def test_pick(self, world):
        base = ("pick", "-c", world.config, "-i", "truth:truth/0?multilabel=true", "-o", ":pick/1")
        world.popsicle(*base)
        assert "3 done, 0 skipped" in world.popsicle(*base, "--instances").stderr
        assert "0 done, 3 skipped" in world.popsicle(*base, "--instances").stderr
        picks, volumes = self.both(world, "pick/1")
        labels = world.instances("truth:truth/0?multilabel=true")
        for label, name in enumerate(NAMES, 1):
            near(volumes[name], picks[name], 15.0)
            assert (labels[volumes[name] > 0] == label).all()
            assert (volumes[name] > 0).sum() > 0.9 * (labels == label).sum()


class TestOldCheckpoints:
    def test_a_recipe_without_the_new_fields(self, world, tmp_path):
        def forget(card):
            for key in ("smoothing", "max_volume", "merge"):
                del card["recipe"]["pick"][key]
            del card["recipe"]["inference"]["tta"]

        old = recast(world.checkpoint, tmp_path / "best.ckpt", forget)
        assert_same(world(checkpoint=old), world.plain)
        world.command("--method", "peaks", "--tta", "2", checkpoint=old)
        world.popsicle("calibrate", old, "-c", world.config, "-i", "wbp", "--device", "cpu", "--method", "peaks")
        assert (tmp_path / "thresholds.yaml").exists()


def test_instances_never_outlive_their_picks(popsicle, project, checkpoint):
    """Ids of an older segmentation would mean other picks, so a rerun wouldn't make it again."""
    command = ("localize", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", ":net/1", "-r", "TS_1")
    popsicle(*command, "--instances", "--device", "cpu")
    popsicle(*command, "--overwrite", "--threshold", "0.6", "--device", "cpu")
    found = open_project(project.config).run("TS_1").get_segmentations(is_instance=True, session_id="1")
    assert [entry.name for entry in found if entry.user_id == "net"] == []
    assert "1 done" in popsicle(*command, "--instances", "--device", "cpu").stderr
    assert "1 skipped" in popsicle(*command, "--instances", "--device", "cpu").stderr
    found = open_project(project.config).run("TS_1").get_segmentations(is_instance=True, session_id="1")
    assert sorted(entry.name for entry in found if entry.user_id == "net") == ["apo-ferritin", "ribosome"]
