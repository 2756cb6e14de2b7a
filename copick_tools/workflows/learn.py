"""Candidates of validation runs to thresholds: chosen per object, cross-validated, scores calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copick_tools.metrics.calibration import fit_isotonic, fit_temperature
from copick_tools.metrics.choose import Choice, Choices, choose, fold_of_runs
from copick_tools.metrics.curves import calibration_error, of_object, reliability, true_picks
from copick_tools.metrics.fbeta import precision_recall
from copick_tools.metrics.points import PointScores, find_reach, score_points
from copick_tools.metrics.sweep import Candidates
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.recipes.recipe import WAY, Pick
from copick_tools.recipes.results import Difference, interval, number
from copick_tools.recipes.rules import Overrides, point_rule, public_name
from copick_tools.recipes.task import Task
from copick_tools.recipes.thresholds import Isotonic, ObjectSetting, Selection, Setting, Temperature
from copick_tools.types import Floats, Mask, Points
from copick_tools.workflows.scoring import difference

ENOUGH = 100  # true and false candidates, of each, for isotonic regression
FEW = 20  # reference points; below that what is learned of an object deserves a warning


@dataclass(frozen=True)
class Sized:
    """Candidates of one object in one run. volumes: (N,) as fractions of a whole particle."""

    points: Points
    volumes: Floats


Found = Mapping[str, Mapping[str, Sized]]
"""run -> object -> candidates"""


@dataclass(frozen=True)
class Learning:
    """What thresholds are learned from. ways: the recipe's first. found: of each way. methods: to choose from, empty: all."""

    task: Task
    reference: Mapping[str, Mapping[str, Points]]
    ways: tuple[Pick, ...]
    found: tuple[Found, ...]
    calibration: str = "auto"
    methods: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self.reference)

    @cached_property
    def objects(self) -> dict[str, float]:
        """Particles of the task: name -> radius in angstrom."""
        return {entry.name: entry.radius or 0.0 for entry in self.task.targets if entry.is_particle}

    def candidates(self, way: int, name: str, rule: PointRule) -> Candidates:
        """One object's candidates in all runs."""
        sized = {run: sets[name] for run, sets in self.found[way].items()}
        reference = PointTable.of(self.reference, self.runs, (name,))
        prediction = PointTable.of({run: {name: s.points} for run, s in sized.items()}, self.runs, (name,))
        volumes = np.concatenate([np.empty(0), *(sized[run].volumes for run in self.runs)])
        return Candidates.of(reference, prediction, volumes, rule)


@dataclass(frozen=True)
class Learned:
    """What was chosen for one object under one rule. ways: its candidates. folds: (R,) of each run."""

    ways: tuple[Candidates, ...]
    choices: Choices
    folds: np.ndarray

    def held_out(self) -> PointTable | None:
        """The picks of every run by the choice that didn't see it; None where there is one fold."""
        if not self.choices.without:
            return None
        none = self.ways[0].prediction.take(np.empty(0, int))
        tables = [self._of_fold(fold, choice) for fold, choice in enumerate(self.choices.without) if choice]
        return PointTable.stack([none, *tables], none.objects)

    def _of_fold(self, fold: int, choice: Choice) -> PointTable:
        table = self.ways[choice.way].prediction
        return table.take(choice.taken(self.ways) & (self.folds[table.run] == fold))


def learn(learning: Learning, betas: Sequence[float]) -> tuple[list[Setting], list[str]]:
    """The setting for each beta, and warnings."""
    learned = [_setting(learning, beta) for beta in betas]
    warnings = list(dict.fromkeys(text for _, texts in learned for text in texts))
    return [setting for setting, _ in learned], warnings


def rule_for(task: Task, radii: Mapping[str, float], beta: float) -> PointRule:
    """The task's rule at the task's beta; one-to-one at any other, for nobody else counts as a challenge does."""
    own = beta == task.metric.beta
    return point_rule(task, radii, Overrides() if own else Overrides(rule="one-to-one", beta=beta))


def _setting(learning: Learning, beta: float) -> tuple[Setting, list[str]]:
    rule = rule_for(learning.task, learning.objects, beta)
    folds = fold_of_runs(len(learning.runs))
    tried = [n for n, way in enumerate(learning.ways) if not learning.methods or way.method in learning.methods]
    objects: dict[str, Learned] = {}
    for name in learning.objects:
        ways = tuple(learning.candidates(way, name, rule) for way in range(len(learning.ways)))
        objects[name] = Learned(ways, choose(ways, folds, beta, tried), folds)
    names = tuple(learning.objects)
    reference = PointTable.of(learning.reference, learning.runs, names)

    def scores(tables: Sequence[PointTable]) -> PointScores:
        return score_points(reference, PointTable.stack(tables, names), rule)

    by_recipe = scores([_by_recipe(learning.ways[0], learned) for learned in objects.values()])
    fitted = scores([_fitted(learned) for learned in objects.values()])
    held_out = [table for learned in objects.values() if (table := learned.held_out()) is not None]
    honest = scores(held_out) if held_out else None
    settings = {name: _object(learning, name, o) for name, o in objects.items()}
    setting = Setting(
        beta=beta,
        rule=public_name(rule),
        score=None if honest is None else number(honest.score()),
        ci95=None if honest is None else interval(honest.score_interval()),
        fitted=number(fitted.score()),
        recipe_score=number(by_recipe.score()),
        recipe=None if honest is None else _gain(honest, by_recipe),
        calibration_error=_held_out_error(learning, objects),
        objects=settings,
        selections=_selections(learning, settings),
    )
    return setting, _warnings(learning, objects) + _of_score(setting)


def _gain(scores: PointScores, baseline: PointScores) -> Difference:
    paired = scores.against(baseline)
    return difference(scores.score() - baseline.score(), None if paired is None else paired[0])


def _fitted(learned: Learned) -> PointTable:
    choice = learned.choices.all
    table = learned.ways[0 if choice is None else choice.way].prediction
    return table.take(np.zeros(len(table), bool) if choice is None else choice.taken(learned.ways))


def _by_recipe(pick: Pick, learned: Learned) -> PointTable:
    return learned.ways[0].prediction.take(_recipe_takes(pick, learned.ways[0]))


def _recipe_takes(pick: Pick, candidates: Candidates) -> Mask:
    largest = np.inf if pick.max_volume is None else pick.max_volume
    return candidates.within(pick.min_volume, largest) & (candidates.prediction.scores >= pick.min_score)


def _object(learning: Learning, name: str, learned: Learned) -> ObjectSetting:
    """What thresholds.yaml says of an object; the recipe's own where nothing of it was found."""
    references = len(learned.ways[0].reference)
    choice = learned.choices.all
    if choice is None:
        return ObjectSetting(**learning.ways[0].model_dump(), references=references)
    candidates = learned.ways[choice.way]
    kept = candidates.within(choice.low, choice.high)
    calibration = _calibration(learning.calibration, candidates, kept)
    level = np.array([choice.level])
    precision, recall = precision_recall(choice.counts)
    way = learning.ways[choice.way].model_dump()
    return ObjectSetting(
        **{
            **way,
            "min_score": float(np.clip(level if calibration is None else calibration.apply(level), 0, 1)[0]),
            "min_volume": choice.low,
            "max_volume": None if np.isinf(choice.high) else choice.high,
        },
        calibration=calibration,
        precision=number(float(precision)),
        recall=number(float(recall)),
        fbeta=number(choice.fbeta),
        references=references,
    )


def _calibration(kind: str, candidates: Candidates, kept: Mask) -> Isotonic | Temperature | None:
    """From raw scores of the ``kept`` candidates to the chance that one is true, one-to-one. None: not asked for, or no case."""
    true = _true(candidates, kept)
    scores = candidates.prediction.scores[kept]
    if kind == "none" or not len(scores):
        return None
    many = min(true.sum(), len(true) - true.sum()) >= ENOUGH
    if kind == "isotonic" or (kind == "auto" and many):
        raw, calibrated = fit_isotonic(scores, true)
        return Isotonic(scores=tuple(raw.tolist()), probabilities=tuple(np.clip(calibrated, 0, 1).tolist()))
    temperature, bias = fit_temperature(scores, true)
    return Temperature(temperature=temperature, bias=bias)


def _true(candidates: Candidates, kept: Mask) -> Mask:
    """(kept,) which of these candidates are true when taken by falling score, one-to-one."""
    table = candidates.prediction.take(kept)
    reach = find_reach(candidates.reference, table, candidates.rule)
    return true_picks(candidates.reference, table, reach)


def _held_out_error(learning: Learning, objects: Mapping[str, Learned]) -> float | None:
    """Calibration error of the picks of each fold, calibrated without it; None where there is one fold or no pick."""
    bins = []
    for learned in objects.values():
        for fold, choice in enumerate(learned.choices.without):
            if choice is None:
                continue
            candidates = learned.ways[choice.way]
            inside = learned.folds[candidates.prediction.run] == fold
            kept = candidates.within(choice.low, choice.high)
            calibration = _calibration(learning.calibration, candidates, kept & ~inside)
            table = candidates.prediction.take(choice.taken(learned.ways) & inside)
            true = true_picks(candidates.reference, table, find_reach(candidates.reference, table, candidates.rule))
            picks = of_object(candidates.reference, table, true, table.objects[0])
            if calibration is not None:
                picks = type(picks)(
                    np.clip(calibration.apply(picks.scores), 0, 1), picks.true, picks.run, picks.references
                )
            bins.append(reliability(picks).sum(axis=0))
    return number(float(calibration_error(np.sum(bins, axis=0)))) if bins else None


def _selections(learning: Learning, objects: Mapping[str, ObjectSetting]) -> list[Selection]:
    """For tasks with one pick or none in a tomogram: a least score, and the share of tomograms that reach it."""
    (name, chosen), *_ = objects.items()
    if learning.task.metric.official != "byu" or chosen.fbeta is None:
        return []
    way = next(number for number, way in enumerate(learning.ways) if _same_way(way, chosen))
    reached = []
    for run in learning.runs:
        sized = learning.found[way][run][name]
        scores = sized.points.scores if chosen.calibration is None else chosen.calibration.apply(sized.points.scores)
        largest = np.inf if chosen.max_volume is None else chosen.max_volume
        kept = (sized.volumes >= chosen.min_volume) & (sized.volumes <= largest)
        reached.append(bool((scores[kept] >= chosen.min_score).any()))
    share = float(np.mean(reached))
    return [Selection(by="threshold", value=chosen.min_score), Selection(by="quantile", value=share)]


def _warnings(learning: Learning, objects: Mapping[str, Learned]) -> list[str]:
    found = []
    for name, learned in objects.items():
        references = len(learned.ways[0].reference)
        if learned.choices.all is None:
            found.append(f"{name}: nothing true was found in these runs, so the recipe's own thresholds stay")
        elif references < FEW:
            found.append(f"{name}: only {references} reference points in these runs: its thresholds may be luck")
    return found


def _of_score(setting: Setting) -> list[str]:
    """Where learning may have made it worse, or the score is of an oddity of the challenge's code."""
    found, gain = [], setting.recipe
    if setting.score is None:
        found.append("a single run can't be held out of itself: nothing says how good these thresholds are")
    if gain is not None and gain.difference is not None and gain.difference <= 0:
        found.append(
            f"F{setting.beta:g}: cross-validated, what was learned is no better than the recipe's thresholds "
            f"({gain.difference:+.4f}): more validation runs would tell; --thresholds none goes by the recipe"
        )
    elif gain is not None and gain.ci95 is not None and gain.ci95[0] <= 0:
        found.append(f"F{setting.beta:g}: the gain over the recipe's thresholds may be chance: its interval reaches 0")
    fused = [name for name, o in setting.objects.items() if o.precision is not None and o.precision > 1]
    if fused:
        found.append(
            f"F{setting.beta:g}: {', '.join(fused)}: the official code counts picks between two particles twice, and "
            "thresholds were chosen by it; --beta with another number chooses one-to-one"
        )
    return found


def _same_way(way: Pick, other: Pick) -> bool:
    return all(getattr(way, key) == getattr(other, key) for key in WAY)
