"""From a task, or from nothing, to the rule that points are scored by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from copick_tools.errors import UsageError, nearest
from copick_tools.metrics.table import PointRule
from copick_tools.recipes.recipe import Target
from copick_tools.recipes.task import Task
from copick_tools.volumes.extraction import Particle

RULES = ("one-to-one", "kaggle")
LARGEST = 1e9  # angstrom
LARGEST_BETA = 1e6


@dataclass(frozen=True)
class Overrides:
    """What the caller says instead of the task. distance: angstrom, for all objects. distance_multiplier: of the radius."""

    rule: str | None = None
    beta: float | None = None
    distance: float | None = None
    distance_multiplier: float | None = None

    def check(self) -> None:
        """Raise UsageError for a rule that doesn't exist, a number out of range, or two distances."""
        if self.rule not in (None, *RULES):
            raise UsageError(f"no rule '{self.rule}'", nearest(self.rule or "", RULES))
        if self.beta is not None and not 0 <= self.beta < LARGEST_BETA:
            raise UsageError(f"--beta is {self.beta}, but has to be a number from 0 up, below {LARGEST_BETA:g}")
        for option, value in (("distance", self.distance), ("distance-multiplier", self.distance_multiplier)):
            if value is not None and not 0 < value < LARGEST:
                raise UsageError(f"--{option} is {value}, but has to be a positive number below {LARGEST:g}")
        if self.distance is not None and self.distance_multiplier is not None:
            raise UsageError("--distance or --distance-multiplier, not both")

    def options(self) -> list[str]:
        """As they are typed."""
        given = {
            "--rule": self.rule,
            "--beta": self.beta,
            "--distance": self.distance,
            "--distance-multiplier": self.distance_multiplier,
        }
        return [str(part) for option, value in given.items() if value is not None for part in (option, value)]

    def radius_needed(self, task: Task | None) -> bool:
        """Whether the matching distances follow from the objects' radii."""
        return self.distance is None and (self.distance_multiplier is not None or task is None)


def point_rule(task: Task | None, radii: Mapping[str, float], overrides: Overrides = Overrides()) -> PointRule:
    """The rule for objects of the given radii (angstrom).

    Without a task: one-to-one, half the radius, beta 1, weights 1. In a challenge's task an object that is nowhere counts 0
    in the aggregate, under both rules: they differ in the matching alone. Raises UsageError for ``kaggle`` without a task that
    has an official code, and for overrides out of range.
    """
    overrides.check()
    asked = overrides.rule or (task.metric.rule if task else "one-to-one")
    if asked == "kaggle" and (task is None or task.metric.official is None):
        raise UsageError("the rule kaggle is a task's official code", "give --task phantom or --task motorbench")
    code = task.metric.official if task and asked == "kaggle" else "one-to-one"
    beta = task.metric.beta if task else 1.0
    weights = {entry.name: entry.weight for entry in task.targets} if task else {}
    return PointRule(
        rule=cast(Literal["one-to-one", "czii", "byu"], code),
        beta=beta if overrides.beta is None else overrides.beta,
        distances={name: _distance(task, name, radius, overrides) for name, radius in radii.items()},
        weights={name: weights.get(name, 1.0) for name in radii},
        present_only=task is None or task.metric.official is None,
    )


def _distance(task: Task | None, name: str, radius: float, overrides: Overrides) -> float:
    """Matching distance of an object, in angstrom."""
    if overrides.distance is not None:
        return overrides.distance
    if overrides.distance_multiplier is not None:
        return overrides.distance_multiplier * radius
    return task.distance(name) if task else radius / 2


def particles(task: Task, target: Target) -> list[Particle]:
    """What to pick: the task's target particles, each with the ball that a network learns to paint, where it paints balls."""
    fractions = {"spheres": target.radius_fraction, "gaussian": 2 * target.sigma_fraction}
    fraction = fractions.get(target.kind)
    return [
        Particle(o.name, o.label, o.radius or 0.0, None if fraction is None else fraction * (o.radius or 0.0))
        for o in task.targets
        if o.is_particle
    ]


def public_name(rule: PointRule) -> Literal["one-to-one", "kaggle"]:
    """How commands and documents call a rule: the official codes are ``kaggle``."""
    return "one-to-one" if rule.rule == "one-to-one" else "kaggle"
