"""Which tomograms keep their picks: by the best pick's score, among all of a command."""

import json
import pickle
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cards import recast
from conftest import SHAPE, SPACING, make_project

from copick_tools.data import read
from copick_tools.data.hashing import file_hash
from copick_tools.data.project import open_project
from copick_tools.data.uris import picks_uri, tomogram_uri
from copick_tools.recipes.load import dump_yaml
from copick_tools.recipes.picking import ball_voxels
from copick_tools.recipes.thresholds import ObjectSetting, Selection, Setting, Temperature, Thresholds
from copick_tools.volumes.extraction import Found
from copick_tools.workflows import predict, select
from copick_tools.workflows.localize import Localizing
from copick_tools.workflows.predict import Model

NAMES = ("ribosome", "apo-ferritin")
SCORES = {  # of candidates, by run
    "TS_1": {"ribosome": [0.9, 0.2], "apo-ferritin": [0.3]},
    "TS_2": {"ribosome": [], "apo-ferritin": [0.6, 0.6]},
    "TS_3": {"ribosome": [], "apo-ferritin": []},
    "TS_4": {"ribosome": [0.6], "apo-ferritin": [0.6]},
}
EMPTY = {"ribosome": [], "apo-ferritin": []}
ONE = {
    "TS_1": {"ribosome": [0.9], "apo-ferritin": []},
    "TS_2": {"ribosome": [], "apo-ferritin": [0.6]},
    "TS_3": EMPTY,
    "TS_4": {"ribosome": [0.6], "apo-ferritin": []},  # of equals, the first of the task
}


def only(runs, of=SCORES):
    """Picks of these runs; the others have none."""
    return {run: of[run] if run in runs else EMPTY for run in SCORES}


def reaching(least, runs=SCORES):
    """Picks of these runs from ``least`` up."""
    return only(
        runs, {run: {n: [s for s in scores if s >= least] for n, scores in SCORES[run].items()} for run in SCORES}
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four runs."""
    folder = tmp_path_factory.mktemp("select") / "project"
    make_project(folder, 4)
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of the project."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def command(project, checkpoint, popsicle):
    """The command on it, and what it wrote."""
    config = project / "copick.json"

    def call(*options, code=0, checkpoint=checkpoint, output=":net/1"):
        base = ("localize", checkpoint, "-c", config, "-i", "wbp", "-o", output, "--device", "cpu")
        return popsicle(*base, *options, code=code)

    def scores(uri="*:net/1"):
        again = open_project(config)
        found = {run: read.read_picks(again, run, [picks_uri(uri)]) for run in SCORES}
        return {
            run: {name: sets[name].scores.round(6).tolist() for name in NAMES if name in sets}
            for run, sets in found.items()
        }

    def kept():
        return list((project / ".popsicle/candidates").glob("*.parts/*.json"))

    return SimpleNamespace(call=call, scores=scores, kept=kept, config=config, project=project)


class Predicted(list):
    """The runs that were predicted. deadly: where it was killed."""

    deadly = ()

    def taken(self):
        found = list(self)
        self.clear()
        return found


@pytest.fixture
def network(monkeypatch):
    """A network that finds SCORES."""
    names = Predicted()

    def predicted(self, volume, voxel_spacing, where, **options):
        run = where.removeprefix("run ")
        if run in names.deadly:
            raise RuntimeError("killed")
        names.append(run)
        return SimpleNamespace(probabilities=run, shape=SHAPE, voxel_spacing=SPACING, origin=0.0, sample=None)

    def from_probabilities(run, particles, voxel_spacing, how):
        return {p.name: candidates(SCORES[run][p.name], p, voxel_spacing) for p in particles}

    monkeypatch.setattr(Model, "predict", predicted)
    monkeypatch.setattr(predict, "from_probabilities", from_probabilities)
    return names


def candidates(scores, particle, voxel_spacing):
    """Of whole particles."""
    count, whole = len(scores), ball_voxels(particle.ball, voxel_spacing)
    centers = np.column_stack([np.full((count, 2), 5.0 * particle.label), 6.0 * np.arange(count)])
    return Found(centers, np.array(scores, dtype=float), np.full(count, whole), whole, np.arange(count))


@pytest.mark.usefixtures("network")
class TestSelect:
    @pytest.mark.parametrize(
        ("how", "runs"),
        [
            ("quantile=0.25", ["TS_1"]),
            ("quantile=0.5", ["TS_1", "TS_2"]),  # TS_2 and TS_4 are equal: by name
            ("quantile=1", ["TS_1", "TS_2", "TS_3", "TS_4"]),
            ("top-k=3", ["TS_1", "TS_2", "TS_4"]),
            ("top-k=0", []),
            ("threshold=0.6", ["TS_1", "TS_2", "TS_4"]),
            ("threshold=0.61", ["TS_1"]),
            ("threshold=0", ["TS_1", "TS_2", "TS_3", "TS_4"]),
            ("threshold=1", []),
        ],
    )
    def test_chosen_tomograms_keep_all_picks(self, command, how, runs):
        result = command.call("--select", how)
        assert "4 done, 0 skipped" in result.stderr
        assert command.scores() == only(runs)

    def test_positions(self, command):
        command.call("--select", "top-k=1")
        points = read.read_picks(open_project(command.config), "TS_1", [picks_uri("*:net/1")])
        np.testing.assert_allclose(points["ribosome"].positions, [[0, 50, 50], [60, 50, 50]])
        np.testing.assert_allclose(points["apo-ferritin"].positions, [[0, 100, 100]])

    def test_counts_are_of_what_stays(self, command):
        rows = json.loads(command.call("--select", "top-k=1", "--json").stdout)["runs"]
        assert [(row["run"], row["status"], row["counts"]) for row in rows] == [
            (run, "done", {name: len(scores) for name, scores in sets.items()}) for run, sets in only(["TS_1"]).items()
        ]

    @pytest.mark.parametrize("how", ["threshold=0.6", "threshold=0.3", "threshold=0"])
    def test_picks_still_have_to_reach_the_least_score(self, command, how):
        command.call("--select", how, "--min-score", 0.55)
        assert command.scores() == reaching(0.55)

    @pytest.mark.parametrize("how", ["top-k=4", "quantile=1", "top-k=3"])
    def test_the_best_pick_of_a_chosen_tomogram_stays_anyway(self, command, how):
        command.call("--select", how, "--min-score", 0.7)
        assert command.scores() == ONE
        command.call("--select", how, "--min-score", 0.25, output=":low/1")
        assert command.scores("*:low/1") == reaching(0.25)

    def test_no_pick_reaches_the_least_score(self, command):
        command.call("--select", "threshold=0.5", "--min-score", 0.95)
        assert command.scores() == only([])
        command.call("--select", "top-k=1", "--min-score", 0.95, output=":one/1")
        assert command.scores("*:one/1") == only(["TS_1"], ONE)

    @pytest.mark.parametrize(
        ("options", "runs"),
        [
            ((), ["TS_1", "TS_2", "TS_4"]),
            (("--min-score", 0.6), ["TS_1", "TS_2", "TS_4"]),
            (("--min-score", 0.7), ["TS_1"]),
            (("--select", "quantile=0.5"), ["TS_1", "TS_2"]),
            (("--select", "quantile=0.5", "--min-score", 0.95), ["TS_1", "TS_2"]),
            (("--select", "threshold=0.7"), ["TS_1"]),
            (("--select", "threshold=0.6"), ["TS_1", "TS_2", "TS_4"]),
            (("--select", "threshold=0.6", "--min-score", 0.7), ["TS_1"]),
        ],
    )
    def test_one_per_tomogram_is_one_over_all_objects(self, command, options, runs):
        command.call("--one-per-tomogram", *options)
        found = command.scores()
        assert found == only(runs, ONE)
        assert max(sum(map(len, sets.values())) for sets in found.values()) == 1

    def test_one_object_alone(self, command):
        command.call("--select", "top-k=1", output="apo-ferritin:net/1")
        assert command.scores() == {run: {"apo-ferritin": [0.6, 0.6] if run == "TS_2" else []} for run in SCORES}

    def test_runs_that_are_not_asked_for_do_not_count(self, command):
        command.call("--select", "quantile=0.5", "-r", "TS_3", "-r", "TS_4")
        assert command.scores()["TS_4"] == SCORES["TS_4"]
        assert command.scores()["TS_3"] == EMPTY
        assert command.scores()["TS_1"] == {}

    def test_candidates_are_no_picks(self, command):
        command.call("--select", "top-k=1")
        stored = {path.name for path in command.project.glob("ExperimentRuns/*/Picks/*.json")}
        assert stored == {f"{who}_{name}.json" for who in ("truth_0", "net_1") for name in NAMES}

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ("best=3", "threshold, quantile or top-k"),
            ("quantile", "needs a value: none was learned"),
            ("threshold=", "needs a value: none was learned"),
            ("top-k", "needs a value"),
            ("quantile=2", "2 won't do"),
            ("quantile=many", "many won't do"),
            ("top-k=1.5", "top-k is a number of tomograms"),
            ("top-k=inf", "inf won't do"),
            ("threshold=nan", "nan won't do"),
            ("threshold=-1", "threshold and quantile lie in [0, 1]"),
        ],
    )
    def test_mistakes(self, command, network, how, reason):
        assert reason in command.call("--select", how, code=2).stderr
        assert command.scores()["TS_1"] == {}
        assert network == []

    @pytest.mark.parametrize("options", [("--select", "top-k=1"), ("--one-per-tomogram",)])
    def test_instances_do_not_go_with_it(self, command, network, options):
        result = command.call("--instances", *options, code=2)
        assert "--instances doesn't go with --select or --one-per-tomogram" in result.stderr
        assert network == []

    def test_a_model_of_compartments(self, command, checkpoint, tmp_path):
        def compartments(card):
            for entry in card["task"]["objects"]:
                entry.update(radius=None, is_particle=False)
            card["task"].update(kind="segmentation", metric={"name": "dice"})

        other = recast(checkpoint, tmp_path / "other.ckpt", compartments)
        for options in ((), ("--select", "top-k=1"), ("--one-per-tomogram",)):
            assert "use popsicle segment" in command.call(*options, checkpoint=other, code=2).stderr


class TestAgain:
    def test_finished_is_skipped(self, command, network):
        command.call("--select", "top-k=1")
        assert network.taken() == list(SCORES)
        assert "0 done, 4 skipped" in command.call("--select", "top-k=3").stderr
        assert network == []
        assert command.scores() == only(["TS_1"])

    def test_candidates_go_when_all_are_done(self, command, network):
        network.deadly = ("TS_4",)
        with pytest.raises(RuntimeError, match="killed"):
            command.call("--select", "top-k=2")
        assert len(command.kept()) == 3
        network.deadly = ()
        command.call("--select", "top-k=2")
        assert command.kept() == []
        assert not list(command.project.glob(".popsicle/candidates/*"))

    @pytest.mark.parametrize("how", [("--select", "top-k=2"), ("--one-per-tomogram",)])
    def test_killed_while_it_predicts(self, command, network, how):
        network.deadly = ("TS_3",)
        with pytest.raises(RuntimeError, match="killed"):
            command.call(*how)
        assert network.taken() == ["TS_1", "TS_2"]
        assert command.scores() == dict.fromkeys(SCORES, {})
        network.deadly = ()
        assert "4 done, 0 skipped" in command.call(*how).stderr
        assert network.taken() == ["TS_3", "TS_4"]
        first = command.scores()
        command.call(*how, output=":at/once")
        assert first == command.scores("*:at/once")

    @pytest.mark.parametrize("how", [("--select", "top-k=2"), ("--one-per-tomogram",)])
    def test_killed_while_it_writes(self, command, network, monkeypatch, how):
        real = select.write_picks

        def killed(project, run, uri, points):
            if run == "TS_2":
                raise RuntimeError("killed")
            real(project, run, uri, points)

        with monkeypatch.context() as patch:
            patch.setattr(select, "write_picks", killed)
            with pytest.raises(RuntimeError, match="killed"):
                command.call(*how)
        assert set(command.scores()["TS_1"]) == set(NAMES)
        assert network.taken() == list(SCORES)
        assert "4 done, 0 skipped" in command.call(*how).stderr
        assert network == []
        first = command.scores()
        command.call(*how, output=":at/once")
        assert first == command.scores("*:at/once")

    def test_killed_while_it_overwrites(self, command, network, monkeypatch):
        """All picks are there, but of two selections: candidates that are kept tell so."""
        real = select.write_picks

        def killed(project, run, uri, points):
            if run == "TS_4":
                raise RuntimeError("killed")
            real(project, run, uri, points)

        command.call("--select", "top-k=4")
        with monkeypatch.context() as patch:
            patch.setattr(select, "write_picks", killed)
            with pytest.raises(RuntimeError, match="killed"):
                command.call("--select", "top-k=1", "--overwrite")
        assert command.scores() == only(["TS_1", "TS_4"])
        network.clear()
        assert "4 done, 0 skipped" in command.call("--select", "top-k=1").stderr
        assert command.scores() == only(["TS_1"])
        assert network == []
        assert "0 done, 4 skipped" in command.call("--select", "top-k=1").stderr

    @pytest.mark.parametrize(
        ("options", "again"),
        [
            (("--select", "quantile=0.5"), ["TS_3", "TS_4"]),  # the candidates are the same
            (("--one-per-tomogram",), ["TS_3", "TS_4"]),
            (("--select", "top-k=2", "--min-score", 0.5), list(SCORES)),
            (("--select", "top-k=2", "--overlap", 0.5), list(SCORES)),
            (("--select", "top-k=2", "--border", 10), list(SCORES)),
            (("--select", "top-k=2", "-r", "TS_2", "-r", "TS_3"), ["TS_2", "TS_3"]),
        ],
    )
    def test_candidates_of_other_options_are_made_again(self, command, network, options, again):
        network.deadly = ("TS_3",)
        with pytest.raises(RuntimeError, match="killed"):
            command.call("--select", "top-k=2")
        network.deadly = ()
        network.clear()
        command.call(*options)
        assert network == again

    def test_another_output_has_its_own(self, command, network):
        network.deadly = ("TS_3",)
        with pytest.raises(RuntimeError, match="killed"):
            command.call("--select", "top-k=2")
        network.deadly = ()
        network.clear()
        command.call("--select", "top-k=2", output=":other/1")
        assert network == list(SCORES)
        assert len(command.kept()) == 2

    @pytest.mark.parametrize("earlier", [("--select", "top-k=1"), ()])
    def test_picks_that_were_selected_among_others(self, command, network, earlier):
        command.call(*earlier, "-r", "TS_1", "-r", "TS_2")
        before = command.scores()
        network.clear()
        result = command.call("--select", "top-k=1", code=1)
        assert "2 of 4 runs have picks already, selected among other tomograms: TS_1" in result.stderr
        assert "Hint: --overwrite selects anew" in result.stderr
        assert command.scores() == before
        assert network == []
        command.call("--select", "top-k=3", "--overwrite")
        assert network == list(SCORES)
        assert command.scores() == only(["TS_1", "TS_2", "TS_4"])

    def test_one_per_tomogram_alone_asks_no_other_tomogram(self, command, network):
        command.call("--one-per-tomogram", "-r", "TS_1", "-r", "TS_2")
        network.clear()
        assert "2 done, 2 skipped" in command.call("--one-per-tomogram").stderr
        assert network == ["TS_3", "TS_4"]
        assert command.scores() == ONE
        assert command.kept() == []

    def test_overwrite_predicts_again(self, command, network):
        command.call("--select", "top-k=1")
        network.clear()
        assert "4 done, 0 skipped" in command.call("--select", "top-k=4", "--overwrite").stderr
        assert network == list(SCORES)
        assert command.scores() == SCORES

    def test_a_bad_tomogram_fails_alone(self, command, network):
        store = command.project / "ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr"
        store.rename(command.project / "aside.zarr")
        result = command.call("--select", "top-k=1", code=1)
        assert "run TS_1 failed: no tomogram wbp" in result.stderr
        assert "3 done, 0 skipped, 1 failed" in result.stderr
        assert command.scores() == {**only(["TS_2"]), "TS_1": {}}
        assert network.taken() == ["TS_2", "TS_3", "TS_4"]
        assert len(command.kept()) == 3
        # mended, it takes part as if it had been there
        (command.project / "aside.zarr").rename(store)
        assert "4 done, 0 skipped" in command.call("--select", "top-k=1").stderr
        assert network == ["TS_1"]
        assert command.scores() == only(["TS_1"])
        assert command.kept() == []


SHARP = Temperature(temperature=0.5, bias=-1.0)


def taught(checkpoint, folder, least, selections=None, calibration=None):
    """A copy of the checkpoint, with thresholds. least: score, by object. selections: by beta, threshold and quantile."""
    best = folder / "best.ckpt"
    shutil.copy(checkpoint, best)
    objects = {name: ObjectSetting(min_score=least[name], calibration=calibration) for name in NAMES}
    settings = [
        Setting(
            beta=beta,
            rule="kaggle" if beta == 4 else "one-to-one",
            score=None,
            fitted=1.0,
            objects=objects,
            selections=[Selection(by="threshold", value=score), Selection(by="quantile", value=share)],
        )
        for beta, (score, share) in (selections or {4.0: (0.55, 0.75), 1.0: (0.7, 0.25)}).items()
    ]
    thresholds = Thresholds(
        task="toy",
        checkpoint=file_hash(best),
        config="copick.json",
        tomogram="wbp",
        reference=["*:truth/0"],
        runs=["TS_2"],
        folds=1,
        settings=settings,
    )
    (folder / "thresholds.yaml").write_text(dump_yaml(thresholds))
    return best


@pytest.mark.usefixtures("network")
class TestLearned:
    @pytest.fixture
    def learned(self, checkpoint, tmp_path):
        """Thresholds that leave out nothing but what is selected."""
        return taught(checkpoint, tmp_path, dict.fromkeys(NAMES, 0.0))

    @pytest.mark.parametrize("how", ["threshold", "quantile", "quantile="])
    @pytest.mark.parametrize(
        ("beta", "runs"),
        [((), ["TS_1", "TS_2", "TS_4"]), (("--beta", 4), ["TS_1", "TS_2", "TS_4"]), (("--beta", 1), ["TS_1"])],
    )
    def test_without_a_value_it_is_that_of_the_beta(self, command, learned, how, beta, runs):
        command.call("--select", how, *beta, checkpoint=learned)
        assert command.scores() == only(runs)

    def test_a_value_that_is_given_counts(self, command, learned):
        command.call("--select", "quantile=0.5", checkpoint=learned)
        assert command.scores() == only(["TS_1", "TS_2"])

    def test_one_per_tomogram_is_what_the_caller_says(self, command, learned):
        command.call("--select", "quantile", "--one-per-tomogram", checkpoint=learned)
        assert command.scores() == ONE

    def test_top_k_is_never_learned(self, command, learned):
        assert "none was learned" in command.call("--select", "top-k", checkpoint=learned, code=2).stderr

    @pytest.mark.parametrize(
        "options",
        [
            ("--thresholds", "none"),
            ("--method", "peaks"),
            ("--threshold", 0.3),
            ("--smoothing", 0.3),
            ("--merge", 0.1),
        ],
    )
    @pytest.mark.parametrize("how", ["threshold", "quantile"])
    def test_none_where_the_learned_thresholds_are_not_used(self, command, learned, network, options, how):
        result = command.call("--select", how, *options, checkpoint=learned, code=2)
        assert f"--select {how} needs a value: none was learned" in result.stderr
        assert network == []

    def test_each_object_has_its_own_least_score(self, command, checkpoint, tmp_path):
        best = taught(checkpoint, tmp_path, {"ribosome": 0.7, "apo-ferritin": 0.25})
        command.call("--select", "threshold=0", checkpoint=best)
        expected = {
            run: {
                name: [s for s in scores if s >= (0.7 if name == "ribosome" else 0.25)] for name, scores in sets.items()
            }
            for run, sets in SCORES.items()
        }
        assert command.scores() == expected
        command.call(checkpoint=best, output=":plain/1")
        assert command.scores("*:plain/1") == expected
        # TS_4: the best candidate is a ribosome below its least score, and stays where tomograms are ranked
        command.call("--select", "top-k=4", checkpoint=best, output=":ranked/1")
        assert command.scores("*:ranked/1") == {**expected, "TS_4": SCORES["TS_4"]}

    @pytest.mark.parametrize("how", [(), ("--select", "threshold=0.5")])
    def test_one_per_tomogram_keeps_the_best_of_the_ordinary_picks(self, command, checkpoint, tmp_path, how):
        """Not the best candidate, which may be of an object of which more is asked."""
        best = taught(checkpoint, tmp_path, {"ribosome": 0.95, "apo-ferritin": 0.25})
        command.call("--one-per-tomogram", *how, checkpoint=best)
        assert command.scores() == {
            "TS_1": {"ribosome": [], "apo-ferritin": [0.3]},
            "TS_2": {"ribosome": [], "apo-ferritin": [0.6]},
            "TS_3": EMPTY,
            "TS_4": {"ribosome": [], "apo-ferritin": [0.6]},
        }

    def test_ranked_and_one_per_tomogram_it_is_the_best_candidate(self, command, checkpoint, tmp_path):
        best = taught(checkpoint, tmp_path, {"ribosome": 0.95, "apo-ferritin": 0.25})
        command.call("--one-per-tomogram", "--select", "quantile", checkpoint=best)
        assert command.scores() == ONE

    def test_tomograms_are_ranked_though_all_lie_below_the_least_score(self, command, checkpoint, tmp_path):
        best = taught(checkpoint, tmp_path, dict.fromkeys(NAMES, 0.95))
        command.call("--select", "quantile", checkpoint=best)
        assert command.scores() == ONE

    def test_a_least_score_that_is_given_replaces_the_learned_one(self, command, checkpoint, tmp_path):
        best = taught(checkpoint, tmp_path, dict.fromkeys(NAMES, 0.95))
        command.call("--select", "top-k=4", "--min-score", 0.25, checkpoint=best)
        assert command.scores() == reaching(0.25)

    def test_scores_are_calibrated_ones(self, command, checkpoint, tmp_path):
        calibrated = {
            run: {n: SHARP.apply(np.array(s)).round(6).tolist() for n, s in v.items()} for run, v in SCORES.items()
        }
        middle = SHARP.apply(np.array([0.75]))[0]
        best = taught(checkpoint, tmp_path, dict.fromkeys(NAMES, 0.0), {4.0: (middle, 0.25)}, SHARP)
        for how in ("threshold", "quantile"):
            command.call("--select", how, checkpoint=best, output=f":{how}/1")
            assert command.scores(f"*:{how}/1") == only(["TS_1"], calibrated)


@pytest.fixture
def task(project, checkpoint):
    """As the command makes it."""
    opened = open_project(project / "copick.json")
    return Localizing(checkpoint, opened, tomogram_uri("wbp"), picks_uri(":net/1", output=True))


class TestParse:
    def test_nothing_is_asked_for(self, task):
        assert select.parse_selection(task, None, False) is None
        assert select.parse_selection(replace(task, instances=True), None, False) is None

    def test_what_is_asked_for(self, task):
        half = Selection(by="quantile", value=0.5)
        assert select.parse_selection(task, "quantile=0.5", False) == select.Selecting(half, False)
        assert select.parse_selection(task, "quantile=0.5", True) == select.Selecting(half, True)
        assert select.parse_selection(task, None, True) == select.Selecting(None, True)


class TestTrueNetwork:
    def test_candidates_travel_to_other_processes(self, task):
        first = select.Candidates(task, tuple(SCORES))
        assert not first.finished("TS_1")
        again = pickle.loads(pickle.dumps(first))
        again.parts.write("TS_1", {"ribosome": {}})
        assert first.finished("TS_1")
        assert first.parts.read("TS_1") == {"ribosome": {}}

    def test_all_chosen_is_as_without(self, command):
        command.call(output=":plain/1")
        plain = command.scores("*:plain/1")
        assert all(sum(map(len, sets.values())) for sets in plain.values())
        command.call("--select", "top-k=4")
        assert command.scores() == plain
        command.call("--one-per-tomogram", output=":one/1")
        best = {run: max(sum(sets.values(), [])) for run, sets in plain.items()}
        assert {run: sum(sets.values(), []) for run, sets in command.scores("*:one/1").items()} == {
            run: [score] for run, score in best.items()
        }

    @pytest.mark.slow
    def test_two_devices_select_what_one_does(self, command):
        command.call("--select", "top-k=2")
        command.call("--select", "top-k=2", "--device", "cpu,cpu", output=":two/1")
        assert command.scores("*:two/1") == command.scores()
        assert command.kept() == []
