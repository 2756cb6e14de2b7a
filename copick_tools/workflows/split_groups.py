"""What ties runs together, and whether splits tear it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copick_tools.data.groups import NONE, Groups, Known, tie, torn, values_of

SURE = ("specimen", "grid")
"""Keys that tie runs wherever they are known."""


@dataclass(frozen=True)
class Tied:
    """Groups and why they are these. assumed: nobody asked for them, nothing proves them. unknown: nobody ever said."""

    groups: Groups
    why: str
    assumed: bool = False
    unknown: bool = False

    @classmethod
    def nothing(cls, runs: Sequence[str], why: str) -> Tied:
        """Every run is its own group."""
        return cls(tie({}, runs), why)


def choose_groups(runs: Sequence[str], known: Known, keys: Sequence[str], splits: int) -> Tied:
    """Groups by the keys; without keys by specimen and grid if they are known, else by dataset if there are enough.

    splits: their number, which the datasets have to reach. Raises NotFoundError, UsageError.
    """
    if list(keys) == [NONE]:
        return Tied.nothing(runs, "runs not tied: each run by itself, as asked")
    if keys:
        return Tied(_tied(runs, known, keys), f"runs tied by {', '.join(keys)}, as asked")
    sure = [key for key in SURE if key in known]
    if sure:
        return Tied(_tied(runs, known, sure), f"runs tied by {' and '.join(sure)}, which the metadata tell")
    dataset = known.get("dataset", {})
    count = len(set(dataset.values()))
    if dataset and set(runs) <= dataset.keys() and count >= max(splits, 2):
        return Tied(_tied(runs, known, ["dataset"]), f"runs tied by dataset, of which there are {count}", assumed=True)
    if not dataset:
        why = "nothing tells which share a specimen, grid or dataset (--metadata, --group-by)"
    elif set(runs) <= dataset.keys():
        why = f"{count} dataset{'s' if count > 1 else ''} can't fill {splits} splits, specimen and grid aren't known"
    else:
        why = "the dataset of some isn't known, specimen and grid of none"
    return Tied.nothing(runs, f"runs not tied: {why}")


def check_leaks(splits: Mapping[str, Sequence[str]], groups: Groups) -> str | None:
    """What says which group is in several splits, and by which runs; None where none is."""
    leaks = torn({run: split for split, members in splits.items() for run in members}, groups.groups)
    if not leaks:
        return None
    group, found = next(iter(sorted(leaks.items())))
    places = ", ".join(f"{split} ({', '.join(members[:3])})" for split, members in found.items())
    more = f"; so are {len(leaks) - 1} others" if len(leaks) > 1 else ""
    return f"group '{group}' (by {', '.join(groups.by) or 'run'}) is in {places}{more}"


def _tied(runs: Sequence[str], known: Known, keys: Sequence[str]) -> Groups:
    return tie({key: values_of(key, runs, known) for key in keys}, runs)
