"""`popsicle evaluate` of picks, every number against an independent one."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TASK, make_project
from metrics import oracle

from copick_tools.data import read
from copick_tools.data.project import ProjectObject, create_project, open_project
from copick_tools.data.uris import PicksUri, SegmentationUri, picks_uri
from copick_tools.data.write import write_picks, write_segmentation
from copick_tools.recipes.results import PointsResult, SemanticResult
from copick_tools.types import Points

DATA = Path(__file__).parents[1] / "data"
WEIGHTS = {"ribosome": 1.0, "apo-ferritin": 2.0}
DISTANCES = {"ribosome": 60.0, "apo-ferritin": 30.0}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "toy.yaml"
    path.write_text(TASK)
    return path


def predict(project, user, seed, loss=0.2, extra=3, spread=15.0):
    """Jittered reference picks, some lost, some invented, some of the other kind; scores of two decimals, so some tie."""
    rng = np.random.default_rng(seed)
    for run in project.run_names:
        truth = read.read_picks(project, run, [picks_uri("*:truth/0")])
        for name in DISTANCES:
            own = truth[name].positions if name in truth else np.empty((0, 3))
            found = own[rng.random(len(own)) > loss] + rng.normal(0, spread, 3)
            near = np.repeat(found, 2, axis=0)[: len(found) + 1] + rng.normal(0, spread / 3, (1, 3))
            other = truth["apo-ferritin" if name == "ribosome" else "ribosome"].positions[:1] + 3.0
            xyz = np.concatenate([near, other, rng.uniform(0, 400, (extra, 3))]).round(2)
            write_picks(project, run, PicksUri(name, user, "1"), Points.at(xyz, rng.random(len(xyz)).round(2)))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Eight runs with two predictions."""
    project = make_project(tmp_path_factory.mktemp("eight") / "project", runs=8)
    predict(project, "net", 0)
    predict(project, "worse", 1, loss=0.6, extra=6, spread=30.0)
    predict(project, "sparse", 2, loss=0.5, extra=0, spread=5.0)
    return open_project(project.config)


def picks(project, uri, runs=None):
    """A side as the oracle takes it: run by run, object by object as the document lists them."""
    rows = []
    for run in runs or project.run_names:
        found = read.read_picks(project, run, [picks_uri(uri)])
        for name in DISTANCES:
            if name in found:
                points = found[name]
                rows += [(run, name, tuple(p), s) for p, s in zip(points.positions.tolist(), points.scores.tolist())]
    return rows


def evaluated(popsicle, project, *arguments):
    text = popsicle("evaluate", "-c", project.config, *arguments, "--json").stdout
    assert "NaN" not in text
    assert "Infinity" not in text
    return PointsResult.model_validate(json.loads(text))


def approx(value):
    return pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("distance", [None, 250.0])
@pytest.mark.parametrize("rule", ["kaggle", "one-to-one"])
def test_counts_and_scores(popsicle, eight, task, rule, distance):
    """At 250 angstrom predictions reach several reference points, and the rules part."""
    options = ("--rule", rule, "--beta", 2, *(("--distance", distance) if distance else ()))
    result = evaluated(popsicle, eight, "-i", "*:sparse/1", "--reference", "*:truth/0", "--task", task, *options)
    sides = picks(eight, "*:truth/0"), picks(eight, "*:sparse/1")
    distances = dict.fromkeys(DISTANCES, distance) if distance else DISTANCES
    scores = {}
    for name, code in (("kaggle", "czii"), ("one-to-one", "one-to-one")):
        by_cell = oracle.counts(*sides, code, distances, eight.run_names)
        scores[name] = oracle.aggregate(oracle.totals(by_cell), WEIGHTS, 2)
        if name == rule:
            for (run, key), counts in by_cell.items():
                assert tuple(result.by_run[run].objects[key].model_dump().values()) == counts
            for run in eight.run_names:
                alone = {key: counts for (other, key), counts in by_cell.items() if other == run}
                assert result.by_run[run].score == approx(oracle.aggregate(alone, WEIGHTS, 2, "skip"))
    assert (result.rule, result.other_rule.rule) == (rule, "one-to-one" if rule == "kaggle" else "kaggle")
    assert result.score == approx(scores[rule])
    assert result.other_rule.score == approx(scores[result.other_rule.rule])
    assert (scores["kaggle"] != scores["one-to-one"]) == bool(distance)
    assert result.ci95[0] <= result.score <= result.ci95[1]
    assert result.runs == 8
    assert any("rest on 8 runs" in warning for warning in result.warnings)
    assert Path(result.config) == eight.config
    assert (result.input, result.reference) == (["*:sparse/1"], ["*:truth/0"])


def test_without_a_task(popsicle, eight):
    """One-to-one, half the radius, beta 1, weights 1."""
    result = evaluated(popsicle, eight, "-i", "*:net/1", "--reference", "*:truth/0")
    by_cell = oracle.counts(
        picks(eight, "*:truth/0"), picks(eight, "*:net/1"), "one-to-one", DISTANCES, eight.run_names
    )
    assert result.score == approx(oracle.aggregate(oracle.totals(by_cell), dict.fromkeys(WEIGHTS, 1.0), 1))
    assert (result.task, result.rule, result.beta, result.other_rule) == (None, "one-to-one", 1, None)
    assert {name: o.distance for name, o in result.objects.items()} == DISTANCES


def test_what_pick_scores_are_worth(popsicle, eight, task):
    """Curves, reliability, localization and confusion are one-to-one whatever the rule of the score."""
    result = evaluated(popsicle, eight, "-i", "*:net/1", "--reference", "*:truth/0", "--task", task)
    sides = picks(eight, "*:truth/0"), picks(eight, "*:net/1")
    true = oracle.true_picks(*sides, DISTANCES)
    for name in DISTANCES:
        rows = oracle.curve(*sides, DISTANCES[name], name)
        curve = result.curves[name]
        shown = np.array([curve.thresholds, curve.precision, curve.recall]).T
        assert shown == approx(np.array(rows))
        assert result.objects[name].average_precision == approx(oracle.average_precision(rows))
        mine = [row for row, pick in enumerate(sides[1]) if pick[1] == name]
        bins = oracle.reliability([sides[1][row][3] for row in mine], [true[row] for row in mine])
        found = [(b.low, b.high, b.picks, b.mean_score, b.precision) for b in result.reliability[name]]
        assert np.array(found) == approx(np.array(bins))
        assert result.objects[name].calibration_error == approx(oracle.calibration_error(bins))
        pairs, numbers = oracle.localization(*sides, DISTANCES, name)
        error = result.localization[name]
        assert error.pairs == pairs
        assert (error.median, error.p90) == approx((numbers["median"], numbers["p90"]))
        for axis, along in error.axes.items():
            assert along.model_dump() == approx({key: numbers[f"{axis}.{key}"] for key in ("median", "p90", "bias")})
        keys = {"tp", "fp", "fn", "precision", "recall", "fbeta", "average_precision", "calibration_error"}
        assert result.objects[name].ci95.keys() == keys
        assert error.ci95.keys() == numbers.keys()
    names = ["ribosome", "apo-ferritin", "nothing"]
    assert result.confusion.reference == result.confusion.prediction == names
    assert result.confusion.counts == oracle.confusion(*sides, DISTANCES).tolist()


def test_the_interval_is_that_of_resampled_runs(popsicle, eight, task):
    from copick_tools.metrics.bootstrap import resample

    result = evaluated(popsicle, eight, "-i", "*:net/1", "--reference", "*:truth/0", "--task", task)

    def score(chosen):
        totals = {
            name: tuple(sum(getattr(run.objects[name], key) for run in chosen) for key in ("tp", "fp", "fn"))
            for name in DISTANCES
        }
        return oracle.aggregate(totals, WEIGHTS, 4)

    drawn = oracle.bootstrap([result.by_run[run] for run in result.run_names], score, resample(8))
    assert result.ci95 == approx(oracle.percentile_interval(drawn))


def test_baseline(popsicle, eight, task):
    base = ("--reference", "*:truth/0", "--task", task)
    result = evaluated(popsicle, eight, "-i", "*:net/1", *base, "--baseline", "*:worse/1")
    alone = evaluated(popsicle, eight, "-i", "*:worse/1", *base)
    compared = result.baseline
    assert (compared.input, compared.score) == (["*:worse/1"], approx(alone.score))
    assert compared.difference.difference == approx(result.score - alone.score)
    low, high = compared.difference.ci95
    assert low <= compared.difference.difference <= high
    assert 0 < compared.difference.p <= 1
    for name, difference in compared.objects.items():
        assert difference.difference == approx(result.objects[name].fbeta - alone.objects[name].fbeta)
        assert difference.ci95
        assert difference.p
    same = evaluated(popsicle, eight, "-i", "*:net/1", *base, "--baseline", "*:net/1").baseline.difference
    assert (same.difference, same.ci95, same.p) == (0, (0, 0), 1)
    table = popsicle("evaluate", "-c", eight.config, "-i", "*:net/1", *base, "--baseline", "*:worse/1").stdout
    assert f"baseline *:worse/1: {alone.score:.4f}, difference +" in table
    assert ", p 0." in table


def test_few_runs_have_no_interval(popsicle, eight, task):
    runs = [part for number in range(1, 5) for part in ("-r", f"TS_{number}")]
    base = ("-i", "*:net/1", "--reference", "*:truth/0", "--task", task, *runs)
    result = evaluated(popsicle, eight, *base, "--baseline", "*:worse/1")
    assert result.runs == 4
    assert result.ci95 is None
    assert result.other_rule.ci95 is None
    assert not any(o.ci95 for o in result.objects.values())
    assert not any(error.ci95 for error in result.localization.values())
    assert result.baseline.difference.difference is not None
    assert result.baseline.difference.ci95 is None
    assert result.baseline.difference.p is None
    assert any("no intervals from 4 runs" in warning for warning in result.warnings)


def test_a_baseline_that_lacks_runs(popsicle, project, task):
    predict(project, "net", 0)
    write_picks(project, "TS_1", PicksUri("ribosome", "half", "1"), Points.at([[1, 2, 3]]))
    base = ("-c", project.config, "-i", "*:net/1", "--reference", "*:truth/0", "--task", task, "--baseline")
    assert "2 of 3 runs have no baseline: TS_2, TS_3" in popsicle("evaluate", *base, "*:half/1", code=1).stderr
    assert "no baseline picks match" in popsicle("evaluate", *base, "*:nobody/1", code=1).stderr
    result = evaluated(popsicle, open_project(project.config), *base[2:], "*:half/1", "--missing", "empty")
    assert any("2 runs have no baseline" in w for w in result.warnings)


def test_matches_csv(popsicle, eight, task, tmp_path):
    popsicle(
        "evaluate", "-c", eight.config, "-i", "*:net/1", "--reference", "*:truth/0", "--task", task, "--out", tmp_path
    )
    with (tmp_path / "matches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["run", "object", "x", "y", "z", "score", "outcome", "partner", "distance"]
    result = PointsResult.model_validate_json((tmp_path / "scores.json").read_text())
    reference, prediction = picks(eight, "*:truth/0"), picks(eight, "*:net/1")
    by_cell = oracle.counts(reference, prediction, "one-to-one", DISTANCES, eight.run_names)
    guesses, truths = oracle.cells(prediction), oracle.cells(reference)
    for (run, name), counts in by_cell.items():
        cell = [row for row in rows if (row["run"], row["object"]) == (run, name)]
        assert tuple(sum(row["outcome"] == what for row in cell) for what in ("tp", "fp", "fn")) == counts
        written = [tuple(float(row[axis]) for axis in "xyz") for row in cell if row["outcome"] != "fn"]
        assert np.array(written).reshape(-1, 3) == pytest.approx(
            np.array(guesses.get((run, name), [])).reshape(-1, 3), abs=6e-4
        )
        here = truths.get((run, name), [])
        partners = [int(row["partner"]) for row in cell if row["outcome"] == "tp"]
        assert len(set(partners)) == len(partners)
        for row in cell:
            place = tuple(float(row[axis]) for axis in "xyz")
            if row["outcome"] == "tp":
                assert oracle.gap(place, here[int(row["partner"])]) == pytest.approx(float(row["distance"]), abs=2e-3)
                assert float(row["distance"]) <= DISTANCES[name]
            else:
                assert row["partner"] == row["distance"] == ""
            assert (row["score"] == "") == (row["outcome"] == "fn")
    assert {row["run"] for row in rows} <= set(result.run_names)


def test_picks_without_scores_have_no_curve(popsicle, project, task):
    rng = np.random.default_rng(0)
    for run in project.run_names:
        xyz = rng.uniform(0, 400, (4, 3))
        write_picks(project, run, PicksUri("ribosome", "plain", "1"), Points.at(xyz))
        write_picks(project, run, PicksUri("apo-ferritin", "plain", "1"), Points.at(xyz, rng.random(4)))
    result = evaluated(popsicle, project, "-i", "*:plain/1", "--reference", "*:truth/0", "--task", task)
    assert set(result.curves) == set(result.reliability) == {"apo-ferritin"}
    assert result.objects["ribosome"].average_precision is None
    assert result.objects["ribosome"].calibration_error is None


def test_scores_outside_the_unit_interval(popsicle, project, task):
    for run in project.run_names:
        write_picks(project, run, PicksUri("ribosome", "odd", "1"), Points.at([[1, 2, 3], [9, 9, 9]], [-3.0, 7.0]))
    result = evaluated(popsicle, project, "-i", "*:odd/1", "--reference", "*:truth/0", "--task", task)
    assert "ribosome" in result.curves
    assert "ribosome" not in result.reliability
    assert any("scores outside [0, 1]" in warning for warning in result.warnings)


def test_the_split_is_recorded_where_all_of_it_was_scored(popsicle, eight, task):
    base = ("-i", "*:net/1", "--reference", "*:truth/0", "--task", task)
    assert evaluated(popsicle, eight, *base, "--split", "test").split == "test"
    assert evaluated(popsicle, eight, *base, "--split", "test").run_names == ["TS_3"]
    assert evaluated(popsicle, eight, *base, "--split", "test", "-r", "TS_3").split is None
    assert evaluated(popsicle, eight, *base).split is None


def test_a_run_without_reference_is_a_negative(popsicle, eight, task):
    """TS_3 has no apo-ferritin: what is picked there is false, and the score of the run is the ribosome's."""
    result = evaluated(popsicle, eight, "-i", "*:net/1", "--reference", "*:truth/0", "--task", task, "-r", "TS_3")
    found = result.objects["apo-ferritin"]
    assert (found.tp, found.fn) == (0, 0)
    assert found.fp > 0
    assert any(w.startswith("apo-ferritin is nowhere in the reference") and "free" in w for w in result.warnings)


def test_one_object_alone_is_not_the_tasks_number(popsicle, eight, task):
    result = evaluated(popsicle, eight, "-i", "*:net/1", "--reference", "ribosome:truth/0", "--task", task)
    assert set(result.objects) == {"ribosome"}
    assert any("this isn't the official number of task toy" in w for w in result.warnings)
    assert any("predictions of objects that aren't scored: apo-ferritin" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tolerance", "10"), "--tolerance isn't for picks"),
        (("--resample",), "--resample isn't for picks"),
        (("--surface", "ribosome"), "--surface isn't for picks"),
        (("--centerline", "ribosome"), "--centerline isn't for picks"),
        (("--distance", "1", "--distance-multiplier", "1"), "not both"),
        (("--distance-multiplier", "0"), "positive number"),
        (("--beta", "nan"), "--beta is nan"),
        (("--missing", "maybe"), "--missing"),
    ],
)
def test_options_that_do_not_fit_picks(popsicle, eight, options, reason):
    base = ("evaluate", "-c", eight.config, "-i", "*:net/1", "--reference", "*:truth/0")
    result = popsicle(*base, *options, code=2)
    assert reason in result.stderr
    assert result.stdout == ""


# Real picks


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Experts' picks of beta-amylase, in a project of one run."""
    project = create_project(
        tmp_path_factory.mktemp("real") / "p",
        "real",
        [ProjectObject("beta-amylase", 2, 65.0, True, (0, 0, 0, 255))],
        "",
    )
    document = json.loads((DATA / "TS_5_4_beta-amylase.json").read_text())
    xyz = np.array([[point["location"][axis] for axis in "xyz"] for point in document["points"]])
    rng = np.random.default_rng(0)
    kept = xyz[rng.permutation(len(xyz))[: round(0.9 * len(xyz))]]
    turned = rng.normal(size=kept.shape)
    jittered = kept + 20 * turned / np.linalg.norm(turned, axis=1, keepdims=True)
    invented = rng.uniform(0, [6300, 6300, 1840], (round(0.1 * len(xyz)), 3))
    for user, points in (("curation", xyz), ("jitter", np.concatenate([jittered, invented]))):
        write_picks(project, "TS_5_4", PicksUri("beta-amylase", user, "0"), Points.at(points))
    return open_project(project.config)


def test_real_picks_against_themselves(popsicle, real):
    base = ("-i", "beta-amylase:curation/0", "--reference", "beta-amylase:curation/0")
    result = evaluated(popsicle, real, *base)
    found = result.objects["beta-amylase"]
    assert (result.score, found.fbeta, found.tp, found.fp, found.fn) == (1, 1, 10, 0, 0)
    official = evaluated(popsicle, real, *base, "--task", "phantom")
    assert official.objects["beta-amylase"].fbeta == 1
    assert official.score is None or official.score == 0  # its weight in the aggregate is 0


def test_real_picks_jittered_dropped_and_added(popsicle, real):
    reference, prediction = (
        [
            ("TS_5_4", "beta-amylase", tuple(p), 1.0)
            for p in read.read_picks(real, "TS_5_4", [picks_uri(f"beta-amylase:{user}/0")])[
                "beta-amylase"
            ].positions.tolist()
        ]
        for user in ("curation", "jitter")
    )
    for distance in (19.9, 20.1, 32.5):
        distances = {"beta-amylase": distance}
        for options, rule, beta in (((), "one-to-one", 1), (("--task", "phantom"), "czii", 4)):
            result = evaluated(
                popsicle, real, "-i", "beta-amylase:jitter/0", "--reference", "beta-amylase:curation/0",
                "--distance", distance, *options,
            )  # fmt: skip
            counts = oracle.totals(oracle.counts(reference, prediction, rule, distances, ["TS_5_4"]))["beta-amylase"]
            found = result.objects["beta-amylase"]
            assert (found.tp, found.fp, found.fn) == counts
            assert found.fbeta == approx(oracle.fbeta(*counts, beta))
    assert (found.tp, found.fp, found.fn) == (9, 1, 1)


# Segmentations


@pytest.fixture(scope="module")
def segmented(shared_project, tmp_path_factory):
    """The reference, moved by a voxel."""
    project = open_project(shutil.copytree(shared_project.folder, tmp_path_factory.mktemp("segmented") / "p"))
    truth = SegmentationUri("truth", "truth", "0", 10.0, "multilabel")
    for run in project.run_names:
        labels = read.read_segmentation(project, run, truth).numpy()
        write_segmentation(
            project, run, SegmentationUri("net", "net", "1", 10.0, "multilabel"), np.roll(labels, 1, axis=2)
        )
    return open_project(project.config)


SEGMENTATIONS = ("-i", "net:net/1@10.0?multilabel=true", "--reference", "truth:truth/0@10.0?multilabel=true")


def test_segmentations(popsicle, segmented, tmp_path):
    base = ("evaluate", "-c", segmented.config, *SEGMENTATIONS, "--out", tmp_path)
    result = SemanticResult.model_validate(popsicle.json(*base))
    assert result == SemanticResult.model_validate_json((tmp_path / "scores.json").read_text())
    labels = {"ribosome": 1, "apo-ferritin": 2}
    means = {}
    for name, label in labels.items():
        values = []
        for run in segmented.run_names:
            sides = [
                read.read_segmentation(segmented, run, SegmentationUri(who, who, session, 10.0, "multilabel")).numpy()
                == label
                for who, session in (("truth", "0"), ("net", "1"))
            ]
            if sides[0].any() or sides[1].any():
                values.append(2 * (sides[0] & sides[1]).sum() / (sides[0].sum() + sides[1].sum()))
        means[name] = np.mean(values)
        assert result.objects[name].dice == approx(means[name])
        assert result.objects[name].runs == len(values)
    assert result.score == approx(np.mean(list(means.values())))
    shown = popsicle(*base).stdout
    row = next(line.split() for line in shown.splitlines() if line.startswith("ribosome"))
    assert row[:3] == ["ribosome", "3", f"{means['ribosome']:.4f}"]
    assert f"score {result.score:.4f} (mean Dice, 3 runs)" in shown


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--rule", "kaggle"), "--rule isn't for segmentations"),
        (("--beta", "2"), "--beta isn't for segmentations"),
        (("--distance", "2"), "--distance isn't for segmentations"),
        (("--distance-multiplier", "2"), "--distance-multiplier isn't for segmentations"),
        (("-i", "more:net/1@10.0?multilabel=true"), "one segmentation is scored against one"),
        (("--absent", "maybe"), "--absent"),
    ],
)
def test_options_that_do_not_fit_segmentations(popsicle, segmented, options, reason):
    result = popsicle("evaluate", "-c", segmented.config, *SEGMENTATIONS, *options, code=2)
    assert reason in result.stderr
    assert result.stdout == ""


def test_the_order_of_runs_changes_nothing(popsicle, eight, task):
    base = ("evaluate", "-c", eight.config, "-i", "*:net/1", "--task", task)
    orders = (eight.run_names[:6], eight.run_names[5::-1])
    one, other = (popsicle.json(*base, *(part for run in order for part in ("-r", run))) for order in orders)
    assert one == other
    assert one["ci95"] is not None


def test_the_document_says_which_file_the_task_is(popsicle, eight, task):
    found = popsicle.json("evaluate", "-c", eight.config, "-i", "*:net/1", "--task", task)
    assert (found["task"], found["task_file"]) == ("toy", str(task))
    shipped = ("--task", "phantom-sim", "--reference", "*:truth/0")
    assert popsicle.json("evaluate", "-c", eight.config, "-i", "*:net/1", *shipped)["task_file"] is None
