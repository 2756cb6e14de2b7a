"""What each split holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from copick_tools.recipes.data_results import SplitObject, SplitPart
from copick_tools.workflows.content import Content


def parts(
    splits: Mapping[str, Sequence[str]],
    runs: Sequence[str],
    content: Content,
    groups: Mapping[str, str],
    species: Mapping[str, str],
) -> dict[str, SplitPart]:
    """Runs, groups, amounts of each object and species of each split. runs: the rows of ``content``. groups: may be unknown."""
    rows = {run: row for row, run in enumerate(runs)}
    totals = content.amounts.sum(axis=0)
    found = {}
    for name, members in splits.items():
        amounts = content.amounts[[rows[run] for run in members if run in rows]]
        objects = {
            entry: SplitObject(
                amount=int(amounts[:, column].sum()),
                runs=int((amounts[:, column] > 0).sum()),
                share=float(amounts[:, column].sum() / totals[column]) if totals[column] else None,
            )
            for column, entry in enumerate(content.objects)
        }
        found[name] = SplitPart(
            runs=list(members),
            groups=len({groups.get(run, run) for run in members}) if groups else None,
            empty=int((~(amounts > 0).any(axis=1)).sum()) if content.unit else None,
            objects=objects,
            species=dict(sorted(Counter(species[run] for run in members if run in species).items())),
        )
    return found


def table(found: Mapping[str, SplitPart], unit: str | None) -> tuple[list[str], list[list[object]]]:
    """Column names and a row for each split: picks of each object, or runs with it and the share of its voxels."""
    objects = list(next(iter(found.values())).objects) if found else []
    species = sorted({name for part in found.values() for name in part.species})
    species = species if len(species) > 1 else []
    header = ["split", "runs", "groups", *(["empty"] if unit else []), *objects, *species]
    rows: list[list[object]] = []
    for name, part in found.items():
        row: list[object] = [name, len(part.runs), "?" if part.groups is None else part.groups]
        row += [part.empty] if unit else []
        row += [_cell(part, entry, unit) for entry in objects]
        rows.append(row + [part.species.get(entry, 0) for entry in species])
    return header, rows


def _cell(part: SplitPart, entry: str, unit: str | None) -> object:
    held = part.objects[entry]
    if unit == "picks":
        return held.amount
    return f"{held.runs} ({'-' if held.share is None else f'{held.share:.0%}'})"
