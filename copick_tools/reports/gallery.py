"""Which picks a report shows, and which runs: the telling ones, the same ones every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from copick_tools.reports.pictures import Mark

EACH = 5  # examples for each object and outcome
ORDER = ("fp", "fn", "tp")


def telling_runs(scores: Mapping[str, float | None], most: int) -> list[str]:
    """All runs if they are few, else ``most`` of them from the worst score over the middle to the best."""
    if len(scores) <= most:
        return list(scores)
    ranked = sorted(scores, key=lambda run: (scores[run] is not None, scores[run] or 0.0, run))
    return [ranked[round(index * (len(ranked) - 1) / (most - 1))] for index in range(most)]


def examples(marks: Sequence[Mark], outcome: str, most: int = EACH) -> list[Mark]:
    """Of the marks of one object: the surest false picks, the least sure (else the worst placed) found ones, missed ones evenly."""
    chosen = sorted((mark for mark in marks if mark.outcome == outcome), key=_place)
    scored = [mark for mark in chosen if mark.score is not None]
    if outcome == "fp" and scored:
        return sorted(scored, key=lambda mark: (-(mark.score or 0.0), _place(mark)))[:most]
    if outcome == "tp" and scored:
        return sorted(scored, key=lambda mark: (mark.score or 0.0, _place(mark)))[:most]
    if outcome == "tp":
        return sorted(chosen, key=lambda mark: (-(mark.distance or 0.0), _place(mark)))[:most]
    if len(chosen) <= most:
        return chosen
    return [chosen[round(index * (len(chosen) - 1) / (most - 1))] for index in range(most)]


def _place(mark: Mark) -> tuple[str, tuple[float, ...]]:
    return mark.run, tuple(float(value) for value in mark.position)
