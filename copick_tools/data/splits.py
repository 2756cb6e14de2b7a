"""Which runs belong to which split: DIR/.popsicle/splits.json, name -> run names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from copick_tools.data.lists import read_splits_file
from copick_tools.data.project import Project, write_text
from copick_tools.errors import NotFoundError, UsageError, nearest


def read_splits(project: Project) -> dict[str, list[str]]:
    """The splits of a project, empty where it has none. Raises FormatError."""
    path = project.sidecar / "splits.json"
    return read_splits_file(path) if path.is_file() else {}


def add_to_splits(project: Project, names: Sequence[str]) -> None:
    """Give the runs that are in no split one: what is there stays, the others are assigned among themselves."""
    splits = read_splits(project)
    listed = {run for members in splits.values() for run in members}
    added = assign_splits([name for name in names if name not in listed])
    if any(added.values()):
        merged = {split: [*splits.get(split, []), *added.get(split, [])] for split in [*added, *splits]}
        write_splits(project, merged)


def publish_splits(project: Project, published: Mapping[str, str | None], names: Collection[str] | None = None) -> None:
    """Put the runs that are there and in no split into their published one; what was decided here stays.

    names: the runs that are there, where looking would be slow.
    """
    there = project.run_names if names is None else names
    splits = read_splits(project)
    listed = {run for members in splits.values() for run in members}
    new = {run: split for run, split in published.items() if split and run not in listed and run in there}
    if new:
        names = dict.fromkeys([*splits, *(split for split in published.values() if split in new.values())])
        merged = {
            name: sorted([*splits.get(name, []), *(run for run, split in new.items() if split == name)])
            for name in names
        }
        write_splits(project, merged)


def write_splits(project: Project, splits: dict[str, list[str]]) -> None:
    """Replace the splits of a project."""
    write_text(project.sidecar / "splits.json", json.dumps(splits, indent=2) + "\n")


def runs(project: Project, split: str | None = None, names: Sequence[str] = ()) -> list[str]:
    """The runs that a command works on: those named, those of the split, or all. split: several with commas between.

    Raises NotFoundError (unknown run or split, nothing left), UsageError (both given and disjoint).
    """
    for name in names:
        project.run(name)
    if split is None:
        chosen = list(dict.fromkeys(names)) or project.run_names
    else:
        members = _members(project, split)
        missing = sorted(set(members) - set(project.run_names))
        if missing:
            raise NotFoundError(f"split '{split}' names runs that {project.config} lacks: {', '.join(missing[:5])}")
        chosen = [run for run in members if not names or run in names]
        if names and not chosen:
            raise UsageError(f"none of {', '.join(names)} is in split '{split}'")
    if not chosen:
        raise NotFoundError(f"{project.config} has no runs" + (f" in split '{split}'" if split else ""))
    return chosen


def _members(project: Project, split: str) -> list[str]:
    """The runs of a split, or of several with commas between. Raises NotFoundError."""
    splits = read_splits(project)
    wanted = [split] if split in splits else split.split(",")
    for name in wanted:
        if name not in splits:
            raise NotFoundError(f"no split '{name}' in {project.config}", nearest(name, splits))
    return list(dict.fromkeys(run for name in wanted for run in splits[name]))


def assign_splits(names: Sequence[str]) -> dict[str, list[str]]:
    """Train, val and test in the proportions 7 : 2 : 4, in the order of the names; test comes first where there are few runs.

    >>> {split: len(runs) for split, runs in assign_splits([str(n) for n in range(13)]).items()}
    {'train': 7, 'val': 2, 'test': 4}
    >>> assign_splits(["a", "b"])
    {'train': ['a'], 'val': [], 'test': ['b']}
    """
    count = len(names)
    test = max(1, round(count * 4 / 13)) if count else 0
    val = max(1, round(count * 2 / 13)) if count > 2 else 0
    train = count - test - val
    return {"train": list(names[:train]), "val": list(names[train : train + val]), "test": list(names[train + val :])}
