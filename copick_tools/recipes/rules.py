"""From a task, or from nothing, to the rule that points are scored by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from copick_tools.errors import UsageError
from copick_tools.metrics.points import PointRule
from copick_tools.recipes.recipe import Target
from copick_tools.recipes.task import Task
from copick_tools.volumes.particles import Particle


@dataclass(frozen=True)
class Overrides:
    """What the caller says instead of the task. distance: angstrom, for all objects."""

    rule: str | None = None
    beta: float | None = None
    distance: float | None = None


def point_rule(task: Task | None, radii: Mapping[str, float], overrides: Overrides = Overrides()) -> PointRule:
    """The rule for objects of the given radii (angstrom).

    Without a task: one-to-one, half the radius, beta 1, weights 1. Raises UsageError for ``kaggle`` without a task that
    has an official code, and for a beta or distance that isn't positive.
    """
    for name, value in (("beta", overrides.beta), ("distance", overrides.distance)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name} is {value}, but has to be a positive number")
    asked = overrides.rule or (task.metric.rule if task else "one-to-one")
    if asked == "kaggle" and (task is None or task.metric.official is None):
        raise UsageError("the rule kaggle is a task's official code", "give --task phantom or --task motorbench")
    code = task.metric.official if task and asked == "kaggle" else "one-to-one"
    objects = {entry.name: entry for entry in task.targets} if task else {}
    return PointRule(
        rule=cast(Literal["one-to-one", "czii", "byu"], code),
        beta=overrides.beta or (task.metric.beta if task else 1.0),
        distances={
            name: overrides.distance or (task.distance(name) if task else radius / 2) for name, radius in radii.items()
        },
        weights={name: objects[name].weight if name in objects else 1.0 for name in radii},
    )


def particles(task: Task, target: Target) -> list[Particle]:
    """What to pick: the task's target particles, each with the radius of the ball that a network learns to paint."""
    fraction = 2 * target.sigma_fraction if target.kind == "gaussian" else target.radius_fraction
    return [Particle(o.name, o.label, fraction * (o.radius or 0)) for o in task.targets if o.is_particle]


def public_name(rule: PointRule) -> str:
    """How commands and documents call a rule: the official codes are ``kaggle``."""
    return "one-to-one" if rule.rule == "one-to-one" else "kaggle"
