"""The predicted picks of runs, where a run without any is a mistake unless it is said to be empty."""

from __future__ import annotations

from collections.abc import Sequence

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri
from copick_tools.errors import PopsicleError
from copick_tools.metrics.table import Picks


def read_predictions(
    project: Project, runs: Sequence[str], uris: Sequence[PicksUri], missing: str, what: str = "prediction"
) -> tuple[dict[str, Picks], list[str]]:
    """run -> object -> picks, and the runs without any pick set.

    missing: ``error`` or ``empty``. Raises NotFoundError (nothing matches), PopsicleError (a run without picks).
    """
    picks: dict[str, Picks] = {run: read.read_picks(project, run, uris) for run in runs}
    read.require_picks(project, runs, uris, what)
    lacking = [run for run in runs if not picks[run]]
    if lacking and missing != "empty":
        raise PopsicleError(
            f"{len(lacking)} of {len(runs)} runs have no {what}: {', '.join(lacking[:5])}",
            "choose runs with --split or -r; --missing empty takes them as empty",
        )
    return picks, lacking
