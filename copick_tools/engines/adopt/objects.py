"""Whose objects the channels of another tool's model are, and what else its files leave open."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from copick_tools.data.project import Project, ProjectObject
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.load import parse
from copick_tools.recipes.task import Task

NAME = "adopted"
CLOSE = 0.01  # relative; voxel spacings that differ by less are the same


@dataclass(frozen=True)
class Stated:
    """What the caller says. objects: by name, of the task, else of the project. place: where they are from, in words.

    voxel_spacing: angstrom, of the training data; it counts. likely: angstrom, of the tomograms that will be predicted; it
    only tells in which unit a file gives the spacing. radius_fraction: of the balls that were painted as targets. named: the
    object that a model of one kind of object finds.
    """

    objects: Mapping[str, ProjectObject]
    place: str
    task: Task | None = None
    voxel_spacing: float | None = None
    likely: float | None = None
    radius_fraction: float | None = None
    named: str | None = None

    @classmethod
    def of(cls, task: Task | None, project: Project | None, **known: float | None) -> Stated:
        """With the objects of a task, else of a project. Raises UsageError where there is neither."""
        if task is not None:
            objects = {o.name: ProjectObject(o.name, o.label, o.radius, o.is_particle, o.color) for o in task.objects}
            return cls(objects, f"task {task.name}", task, **known)
        if project is None:
            raise UsageError(
                "names, labels and radii of the objects aren't in another tool's files", "give --task NAME or -c CONFIG"
            )
        return cls(project.objects, str(project.config), **known)

    def one(self, where: str) -> str:
        """The object of a model that finds one kind and doesn't know which. Raises UsageError, NotFoundError."""
        if self.named is not None:
            return self._object(self.named, where).name
        if len(self.objects) == 1:
            return next(iter(self.objects))
        raise UsageError(
            f"{where} finds one kind of object and doesn't say which; {self.place} has {', '.join(self.objects)}",
            "name it in the output, as in -o 'NAME:user/1?instance=true'; or popsicle models convert --object NAME",
        )

    def seen_spacing(self, where: str) -> float:
        """Angstrom, at which a model sees tomograms that says nothing of it: as they are, unless the caller says otherwise.

        Raises UsageError where neither is known.
        """
        found = self.voxel_spacing or self.likely
        if found is None:
            raise UsageError(
                f"{where} says nothing of voxel spacings",
                "name the one of the tomograms, for example -i wbp@20, or convert it with --voxel-spacing ANGSTROM",
            )
        return found

    def channels(self, labels: Mapping[str, int], where: str) -> list[ProjectObject]:
        """The objects of the channels 1, 2, …. labels: another tool's, name -> channel; a name of digits means a label.

        Raises FormatError (channels not numbered from 1; no radius), NotFoundError (no such object).
        """
        if sorted(labels.values()) != list(range(1, len(labels) + 1)):
            raise FormatError(
                f"{where}: the labels {sorted(labels.values())} don't number the channels from 1 without gaps"
            )
        found = [self._object(name, where) for name, _ in sorted(labels.items(), key=lambda item: item[1])]
        for number, entry in enumerate(found):
            if entry in found[:number]:
                raise FormatError(f"{where}: two channels are {entry.name} of {self.place}")
            if entry.is_particle and not entry.radius:
                raise FormatError(
                    f"particle {entry.name} of {self.place} has no radius", "set it there: picks are judged by it"
                )
        return found

    def _object(self, name: str, where: str) -> ProjectObject:
        if name in self.objects:
            return self.objects[name]
        if name.isdigit():
            same = [o for o in self.objects.values() if o.label == int(name)]
        else:
            same = [o for o in self.objects.values() if _folded(o.name) == _folded(name)]
        if len(same) != 1:
            what = f"no object with label {name}" if name.isdigit() else f"no object '{name}'"
            choices = [f"{o.name} ({o.label})" for o in self.objects.values()] if name.isdigit() else self.objects
            raise NotFoundError(f"{where}: {what} in {self.place}", nearest(name, choices))
        return same[0]

    def card_task(self, channels: Iterable[ProjectObject], voxel_spacing: float, tomo_type: str, source: str) -> Task:
        """The task, with these objects as its targets; made up where only a project is known.

        source: the other tool. Raises FormatError.
        """
        names = [entry.name for entry in channels]
        if self.task is not None:
            kept = tuple(o.model_copy(update={"target": o.name in names}) for o in self.task.objects)
            return self.task.model_copy(update={"objects": kept})
        particles = any(self.objects[name].is_particle for name in names)
        localization = {"name": "fbeta", "beta": 1.0, "rule": "one-to-one", "distance_multiplier": 0.5}
        document = {
            "name": NAME,
            "title": f"a model of {source}",
            "kind": "localization" if particles else "segmentation",
            "description": f"objects of {self.place}",
            "source": source,
            "voxel_spacing": voxel_spacing,
            "tomo_types": [tomo_type],
            "reference": "*:*/*",
            "splits": {"train": {"role": "unknown"}},
            "objects": [_entry(self.objects[name]) for name in names],
            "metric": localization if particles else {"name": "dice"},
        }
        return parse(Task, document, where=self.place)

    def stated_spacing(self, found: float, where: str) -> float:
        """The voxel spacing, angstrom, where a file gives it in angstrom. Raises UsageError where the caller says otherwise."""
        if self.voxel_spacing is not None and not close(self.voxel_spacing, found):
            raise UsageError(f"--voxel-spacing {self.voxel_spacing:g}, but {where} says {found:g} A")
        return found


def close(one: float, other: float) -> bool:
    """Whether two voxel spacings, both positive, are the same."""
    return abs(one / other - 1) <= CLOSE


def require_spacing(value: Any, where: str) -> float:
    """A voxel spacing that a file gives, as a number. Raises FormatError unless it is positive and finite."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise FormatError(f"{where}: the voxel spacing {value!r} is no number") from None
    if not 0 < found < math.inf:
        raise FormatError(f"{where}: the voxel spacing is {found:g}", "it has to be positive")
    return found


def tomo_type(text: Any) -> str:
    """A tomogram's type as it stands in a URI; ``any`` where there is none."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", str(text)).strip("-") if text else "any"


def _entry(entry: ProjectObject) -> dict[str, Any]:
    color = [*entry.color, 255][:4]
    return {
        "name": entry.name,
        "label": entry.label,
        "radius": entry.radius or None,
        "is_particle": entry.is_particle,
        "color": color,
    }


def _folded(name: str) -> str:
    return re.sub(r"[_\s]+", "-", name.casefold())
