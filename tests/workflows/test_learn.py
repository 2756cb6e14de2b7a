"""Thresholds from made-up candidates, where the truth is known."""

import numpy as np
import pytest
import yaml
from conftest import TASK

from copick_tools.recipes.load import load_task, parse
from copick_tools.recipes.recipe import Pick
from copick_tools.recipes.task import Task
from copick_tools.types import Points
from copick_tools.workflows.learn import Learning, Sized, learn

TOY = parse(Task, yaml.safe_load(TASK), where="toy")
MOTORS = load_task("motorbench")
FAR = 10_000.0  # angstrom between two of them: nobody is near another


def on_a_line(count, offset=0.0):
    return np.column_stack([FAR * np.arange(count), np.full((count, 2), offset)])


def candidates(true=(), false=(), true_volumes=None, false_volumes=None):
    """Candidates with these scores: true ones sit on the references 0, 1, …, false ones on nothing."""
    xyz = np.concatenate([on_a_line(len(true)), on_a_line(len(false), FAR / 2)])
    volumes = [
        np.ones(len(scores)) if given is None else np.broadcast_to(given, len(scores))
        for scores, given in ((true, true_volumes), (false, false_volumes))
    ]
    return Sized(Points.at(xyz, [*true, *false]), np.concatenate(volumes))


NOTHING = candidates()


RECIPE = (Pick(),)


def learned(task, references, *found, ways=RECIPE, calibration="none", betas=None, methods=()):
    """references: run -> object -> how many. found: of each way, run -> object -> candidates; others have none."""
    names = [entry.name for entry in task.targets]
    reference = {
        run: {name: Points.at(on_a_line(count)) for name, count in counts.items()} for run, counts in references.items()
    }
    full = tuple(
        {run: {name: way.get(run, {}).get(name, NOTHING) for name in names} for run in references} for way in found
    )
    return learn(Learning(task, reference, ways, full, calibration, methods), betas or (task.metric.beta,))


class TestLearn:
    def test_each_object_by_what_tells_its_true_picks(self):
        rng = np.random.default_rng(0)
        runs = [f"TS_{number}" for number in range(10)]
        found = {
            run: {
                "ribosome": candidates(rng.choice([0.7, 0.8, 0.9], 5), rng.choice([0.2, 0.3, 0.4], 40)),
                "apo-ferritin": candidates(
                    rng.choice([0.4, 0.6, 0.8], 5), rng.choice([0.4, 0.9], 40), true_volumes=0.9, false_volumes=0.25
                ),
            }
            for run in runs
        }
        truth = {run: {"ribosome": 5, "apo-ferritin": 5} for run in runs}
        for beta in (4.0, 1.0):
            (setting,), warnings = learned(TOY, truth, found, betas=(beta,))
            assert setting.fitted == setting.score == 1
            assert setting.ci95 == (1, 1)
            assert setting.rule == ("kaggle" if beta == 4 else "one-to-one")
            total = 45 / 5  # of the recipe's picks, per true one
            assert setting.recipe_score == pytest.approx((1 + beta**2) / (total + beta**2))
            assert setting.recipe.difference == pytest.approx(1 - setting.recipe_score)
            assert setting.recipe.ci95[0] > 0
            ribosome, ferritin = setting.objects["ribosome"], setting.objects["apo-ferritin"]
            assert 0.4 < ribosome.min_score < 0.7
            assert ribosome.min_volume < 0.25
            assert 0.25 < ferritin.min_volume < 0.9
            assert ferritin.min_score <= 0.4
            assert (ribosome.precision, ribosome.recall, ribosome.fbeta, ribosome.references) == (1, 1, 1, 50)
            assert ribosome.calibration is None
            assert setting.selections == warnings == []

    def test_each_object_by_its_own_way(self):
        ways = (Pick(min_score=0.2), Pick(method="peaks", threshold=0.1))
        good, bad = candidates([0.9, 0.8], [0.3]), candidates([0.9], [0.95, 0.85])
        first = {run: {"ribosome": good, "apo-ferritin": bad} for run in ("TS_1", "TS_2")}
        second = {run: {"ribosome": bad, "apo-ferritin": good} for run in first}
        truth = {run: {"ribosome": 2, "apo-ferritin": 2} for run in first}
        (setting,), _ = learned(TOY, truth, first, second, ways=ways)
        assert setting.objects["ribosome"].method == "components"
        assert setting.objects["apo-ferritin"].method == "peaks"
        assert setting.objects["apo-ferritin"].threshold == 0.1
        assert setting.fitted == 1

    def test_equally_good_ways_leave_the_recipe_its_own(self):
        ways = (Pick(threshold=0.5), Pick(method="peaks", threshold=0.1))
        found = {"TS_1": {"ribosome": candidates([0.9]), "apo-ferritin": candidates([0.9])}}
        (setting,), _ = learned(TOY, {"TS_1": {"ribosome": 1, "apo-ferritin": 1}}, found, found, ways=ways)
        assert {o.method for o in setting.objects.values()} == {"components"}

    def test_only_methods_that_are_asked_for(self):
        """The recipe's way is what they are compared with, but isn't chosen, however good it is."""
        ways = (Pick(), Pick(method="peaks", threshold=0.1), Pick(method="watershed"))
        runs = ("TS_1", "TS_2")
        good, bad = (
            {run: dict.fromkeys(("ribosome", "apo-ferritin"), sized) for run in runs}
            for sized in (candidates([0.9, 0.8]), candidates([0.9], [0.95]))
        )
        truth = {run: {"ribosome": 2, "apo-ferritin": 2} for run in runs}
        (setting,), warnings = learned(TOY, truth, good, bad, good, ways=ways, methods=("peaks",))
        assert {o.method for o in setting.objects.values()} == {"peaks"}
        assert (setting.recipe_score, setting.recipe.difference) == (1, setting.score - 1)
        assert setting.fitted < 1
        assert any("no better than the recipe's thresholds" in warning for warning in warnings)
        (setting,), _ = learned(TOY, truth, good, bad, good, ways=ways, methods=("peaks", "watershed"))
        assert {o.method for o in setting.objects.values()} == {"watershed"}

    def test_the_score_is_of_runs_that_took_no_part(self):
        found = {
            "TS_1": {"ribosome": candidates([0.9], [0.6])},
            "TS_2": {"ribosome": candidates([0.8])},
            "TS_3": {"ribosome": candidates([0.8])},
        }
        task = TOY.model_copy(update={"objects": TOY.objects[:1]})
        (setting,), warnings = learned(task, dict.fromkeys(found, {"ribosome": 1}), found, betas=(1.0,))
        assert setting.fitted == 1
        assert setting.objects["ribosome"].min_score == pytest.approx(0.7)
        # without TS_1 nobody knows of false ones at 0.6: three true, one false
        assert setting.score == pytest.approx(6 / 7)
        assert setting.recipe.difference == 0
        assert any(
            "F1: cross-validated, what was learned is no better than the recipe's thresholds (+0.0000)" in warning
            for warning in warnings
        )

    def test_what_one_run_holds_says_nothing_of_itself(self):
        """Luck alone: scores of true and false ones are the same, so what fits best is worth nothing on other runs."""
        rng = np.random.default_rng(3)
        found = {
            f"TS_{number}": {
                "ribosome": candidates(
                    rng.random(2), rng.random(4), true_volumes=rng.uniform(0, 2, 2), false_volumes=rng.uniform(0, 2, 4)
                )
            }
            for number in range(6)
        }
        task = TOY.model_copy(update={"objects": TOY.objects[:1]})
        (setting,), _ = learned(task, dict.fromkeys(found, {"ribosome": 2}), found, betas=(1.0,))
        assert setting.fitted > setting.score + 0.05
        assert setting.ci95[0] <= setting.score <= setting.ci95[1]

    def test_one_run_has_no_score(self):
        found = {"TS_1": {"ribosome": candidates([0.9], [0.4]), "apo-ferritin": candidates([0.9])}}
        (setting,), warnings = learned(TOY, {"TS_1": {"ribosome": 1, "apo-ferritin": 1}}, found)
        assert any("a single run can't be held out of itself" in warning for warning in warnings)
        assert setting.score is setting.ci95 is setting.recipe is setting.calibration_error is None
        assert setting.fitted == 1

    @pytest.mark.parametrize(
        ("asked", "many", "kind"),
        [
            ("auto", True, "isotonic"),
            ("auto", False, "temperature"),
            ("isotonic", False, "isotonic"),
            ("temperature", True, "temperature"),
        ],
    )
    def test_calibrated_scores_are_nearer_to_the_truth(self, asked, many, kind):
        rng = np.random.default_rng(0)
        found = {}
        for number in range(10):
            scores = rng.uniform(0.05, 1, 120 if many else 20)
            true = rng.random(len(scores)) < scores**3  # too sure of themselves
            found[f"TS_{number}"] = {"ribosome": candidates(scores[true], scores[~true])}
        task = TOY.model_copy(update={"objects": TOY.objects[:1]})
        truth = {run: {"ribosome": 120} for run in found}
        (setting,), _ = learned(task, truth, found, calibration=asked)
        (raw,), _ = learned(task, truth, found, calibration="none")
        ribosome = setting.objects["ribosome"]
        assert ribosome.calibration.kind == kind
        scores = np.linspace(0.05, 1, 96)
        off = np.abs(ribosome.calibration.apply(scores) - scores**3).mean()
        assert off < np.abs(scores - scores**3).mean() / 2
        assert setting.calibration_error < raw.calibration_error
        # the same picks stay: only their scores have changed
        level = raw.objects["ribosome"].min_score
        assert ribosome.min_score == pytest.approx(ribosome.calibration.apply(np.array([level]))[0])
        assert setting.score == raw.score

    def test_nothing_to_learn_from(self):
        ways = (Pick(threshold=0.4, min_score=0.15), Pick(method="peaks", threshold=0.1))
        found = {
            run: {"ribosome": candidates([0.9, 0.8], [0.3]), "apo-ferritin": candidates([], [0.9, 0.5])}
            for run in ("TS_1", "TS_2")
        }
        (setting,), warnings = learned(TOY, dict.fromkeys(found, {"ribosome": 2}), found, found, ways=ways)
        ferritin = setting.objects["apo-ferritin"]
        assert ferritin.model_dump(include=set(Pick.model_fields)) == ways[0].model_dump()
        assert ferritin.calibration is ferritin.fbeta is None
        assert ferritin.references == 0
        assert "apo-ferritin: nothing true was found" in warnings[1]
        assert "ribosome: only 4 reference points" in warnings[0]

    def test_nothing_at_all(self):
        (setting,), warnings = learned(TOY, {"TS_1": {}, "TS_2": {}}, {})
        assert all(
            o.model_dump(include=set(Pick.model_fields)) == Pick().model_dump() for o in setting.objects.values()
        )
        assert [warning.partition(":")[0] for warning in warnings] == ["ribosome", "apo-ferritin", "F4"]
        assert all("nothing true was found" in warning for warning in warnings[:2])


class TestMotors:
    """One motor or none in a tomogram."""

    @pytest.mark.parametrize("calibration", ["none", "temperature", "isotonic"])
    @pytest.mark.parametrize("seed", range(4))
    def test_both_selections_choose_the_same_tomograms(self, seed, calibration):
        rng = np.random.default_rng(seed)
        truth, found = {}, {}
        for number in range(14):
            motor = rng.random() < 0.5
            truth[f"TS_{number}"] = {"flagellar-motor": int(motor)}
            true = rng.uniform(0.3, 1, int(motor)).round(1)
            false = rng.uniform(0, 0.7, rng.integers(0, 3)).round(1)
            found[f"TS_{number}"] = {"flagellar-motor": candidates(true, false)}
        settings, _ = learned(MOTORS, truth, found, calibration=calibration, betas=(2.0, 1.0))
        assert [setting.rule for setting in settings] == ["kaggle", "one-to-one"]
        for setting in settings:
            assert [selection.by for selection in setting.selections] == ["threshold", "quantile"]
            motor = setting.objects["flagellar-motor"]
            best = {}
            for run, sets in found.items():
                scores = sets["flagellar-motor"].points.scores
                if len(scores):
                    best[run] = float((scores if motor.calibration is None else motor.calibration.apply(scores)).max())
            by_threshold, by_quantile = (selection.choose(best, len(found)) for selection in setting.selections)
            assert by_threshold == by_quantile
            assert by_threshold == {run for run, score in best.items() if score >= motor.min_score}
            assert 0 < len(by_threshold) < len(found)

    def test_tomograms_without_motor_count(self):
        """The challenge counts a false motor as one false positive, and the best pick of a tomogram alone."""
        found = {
            "TS_1": {"flagellar-motor": candidates([0.9], [0.8])},
            "TS_2": {"flagellar-motor": candidates([0.7])},
            "TS_3": {"flagellar-motor": candidates([], [0.5, 0.4])},
        }
        truth = {run: {"flagellar-motor": int(run != "TS_3")} for run in found}
        (setting,), _ = learned(MOTORS, truth, found)
        assert setting.fitted == 1
        assert 0.5 < setting.objects["flagellar-motor"].min_score <= 0.7
        assert setting.selections[0].value == setting.objects["flagellar-motor"].min_score
        assert setting.selections[1].value == pytest.approx(2 / 3)

    def test_nothing_found_selects_nothing(self):
        found = {run: {"flagellar-motor": candidates([], [0.5])} for run in ("TS_1", "TS_2")}
        (setting,), warnings = learned(MOTORS, {run: {"flagellar-motor": 1} for run in found}, found)
        assert setting.selections == []
        assert any("nothing true was found" in warning for warning in warnings)
