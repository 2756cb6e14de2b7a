"""Scoring submissions: ours against plain pandas and KD-trees, against the official code's way and octopi's counting, on the
same files, in one go.

Each side in a process of its own (octopi in an environment made by peers.py), after its imports and a call to warm up; the
best of three calls, one call of the masks and of what is large. Memory is what the process's peak lies above what it holds
before the calls (Linux).

    python benchmarks/score.py [--runs 500 --picks 150 --million 1000000 --dense 200000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import common
import peers

RADII = {
    "apo-ferritin": 60,
    "beta-amylase": 65,
    "beta-galactosidase": 90,
    "ribosome": 150,
    "thyroglobulin": 130,
    "virus-like-particle": 135,
}
WEIGHTS = dict(zip(RADII, (1, 0, 2, 1, 2, 1)))
BETA, MULTIPLIER, REPEATS = 4, 0.5, 3
BOX = 6300.0, 6300.0, 1840.0  # angstrom, of a tomogram
SAME = 1e-12  # scores of the same rule


def write_files(folder: Path, runs: int, picks: int, scale: float = 1.0, kinds: Iterable[str] = RADII) -> None:
    """Reference and submission: 30 angstrom off, a tenth lost, a tenth invented. scale: of the box's sides."""
    import numpy as np
    import pandas as pd

    folder.mkdir()
    rng = np.random.default_rng(0)
    count, names = runs * picks, np.array(list(kinds))
    size = np.array(BOX) * scale
    run, kind = np.repeat(np.arange(runs), picks), rng.integers(0, len(names), count)
    xyz = (rng.random((count, 3)) * size).round(3)
    kept, new = rng.random(count) < 0.9, rng.random(count) < 0.1
    guess = np.concatenate([xyz[kept] + rng.normal(0, 30, (kept.sum(), 3)), rng.random((new.sum(), 3)) * size])
    rows = np.concatenate([np.flatnonzero(kept), np.flatnonzero(new)])
    for name, where, points in (("reference", np.arange(count), xyz), ("submission", rows, guess.round(3))):
        table = pd.DataFrame(points, columns=list("xyz"))
        table.insert(0, "particle_type", names[kind[where]])
        table.insert(0, "experiment", [f"TS_{number:04}" for number in run[where]])
        table.to_csv(folder / f"{name}.csv", index_label="id")


def ours(folder: Path) -> float:
    """The whole document: both rules, intervals, localization error, confusion."""
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import Overrides
    from copick_tools.workflows.score import Submission, score

    question = Submission(
        folder / "submission.csv", folder / "reference.csv", load_task("phantom"), Overrides("kaggle")
    )
    return score(question).score or 0.0


def official_rule_alone(folder: Path) -> float:
    """Ours, from files to the official score, without the other rule, intervals and diagnostics."""
    from copick_tools.metrics.points import score_points
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import point_rule
    from copick_tools.workflows import score_czii

    task = load_task("phantom")
    reference, _ = score_czii.read_reference(folder / "reference.csv", task)
    prediction, _ = score_czii.read_submission(folder / "submission.csv", reference, strict=True)
    return score_points(reference, prediction, point_rule(task, {o.name: o.radius or 0 for o in task.targets})).score()


def kd_trees(folder: Path) -> float:
    """Plain pandas: groupby, and two KD-trees for each experiment and type."""
    from scipy.spatial import cKDTree

    def counts(one: Any, other: Any, distance: float) -> tuple[int, int, int]:
        tp = 0
        if len(one) and len(other):
            near = cKDTree(other).query_ball_tree(cKDTree(one), distance)
            tp = len({point for points in near for point in points})
        return tp, len(other) - tp, len(one) - tp

    return by_groups(folder, counts)


def by_groups(folder: Path, counts: Callable[[Any, Any, float], tuple[int, int, int]]) -> float:
    """The weighted score of ``counts`` (reference, prediction, distance -> tp, fp, fn) over experiments and types."""
    import numpy as np
    import pandas as pd

    truth, guess = (pd.read_csv(folder / f"{name}.csv") for name in ("reference", "submission"))
    groups = [
        {key: rows[["x", "y", "z"]].to_numpy() for key, rows in table.groupby(["experiment", "particle_type"])}
        for table in (truth, guess)
    ]
    totals = {name: np.zeros(3) for name in RADII}
    for experiment, name in {*groups[0], *groups[1]}:
        one, other = (side.get((experiment, name), np.empty((0, 3))) for side in groups)
        totals[name] += counts(one, other, MULTIPLIER * RADII[name])
    return weighted(totals)


def masks(folder: Path) -> float:
    """The official code's way: masks over both whole tables for each experiment and type, so quadratic in experiments."""
    import numpy as np
    import pandas as pd
    from scipy.spatial import cKDTree

    truth, guess = (pd.read_csv(folder / f"{name}.csv") for name in ("reference", "submission"))
    totals = {name: np.zeros(3) for name in RADII}
    for experiment in truth["experiment"].unique():
        for name in RADII:
            one, other = (
                table.loc[
                    (table["experiment"] == experiment) & (table["particle_type"] == name), ["x", "y", "z"]
                ].values
                for table in (truth, guess)
            )
            found: set[int] = set()
            if len(one) and len(other):
                for points in cKDTree(other).query_ball_tree(cKDTree(one), MULTIPLIER * RADII[name]):
                    found.update(points)
            totals[name] += len(found), len(other) - len(found), len(one) - len(found)
    return weighted(totals)


def weighted(totals: dict) -> float:
    score = 0.0
    for name, (tp, fp, fn) in totals.items():
        precision, recall = tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn) if tp + fn else 0.0
        below = BETA**2 * precision + recall
        score += WEIGHTS[name] * ((1 + BETA**2) * precision * recall / below if below else 0.0)
    return score / sum(WEIGHTS.values())


def octopi(folder: Path) -> float:
    """The counting core of octopi's evaluate (1.7), at the challenge's distance; its rule isn't the official one."""
    from types import SimpleNamespace

    from octopi.processing.evaluate import evaluator  # type: ignore[import-not-found]

    def counts(one: Any, other: Any, distance: float) -> tuple[int, int, int]:
        if not len(one) or not len(other):  # as its own loop does
            return 0, len(other), len(one)
        found = evaluator.compute_metrics(SimpleNamespace(beta=BETA), one, other, distance)
        return found["true_positives"], found["false_positives"], found["false_negatives"]

    return by_groups(folder, counts)


OURS, ALONE, TREES = "ours", "ours, the score alone", "pandas groupby and KD-trees"
MASKS = "a mask over all rows per experiment and object, as the challenge's code does"
OCTOPI = f"{peers.version('octopi')}, its counting alone (another rule)"
TITLES = {OURS: "ours: both rules, intervals, localization error, confusion"}
SIDES: dict[str, Callable[[Path], float]] = {
    OURS: ours,
    ALONE: official_rule_alone,
    TREES: kd_trees,
    MASKS: masks,
    OCTOPI: octopi,
}


def child(side: str, folder: Path, warm: Path, repeats: int) -> None:
    """Print CPU seconds, growth of the peak in MiB, the score."""
    SIDES[side](warm)
    took, score = common.spent(lambda: SIDES[side](folder), repeats)
    print(json.dumps([took.cpu, took.memory, score]))


def measure(side: str, folder: Path, repeats: int = REPEATS, interpreter: str = sys.executable) -> list[float]:
    """Raises SystemExit where it fails."""
    arguments = ["--side", side, "--folder", str(folder), "--warm", str(folder.parent / "warm")]
    row = common.child(__file__, [*arguments, "--repeats", str(repeats)], interpreter)
    if row is None:
        raise SystemExit(1)
    common.say(f"  {side}: {row[0]:.2f} CPU-s, {row[1]:.0f} MiB, score {row[2]:.16f}")
    return row


def many_runs(parent: Path, runs: int, picks: int) -> str:
    """A row for each side. Raises SystemExit where sides of the same rule have other scores."""
    folder = parent / "files"
    write_files(folder, runs, picks)
    common.say(f"{runs} runs x {picks} picks")
    rows = {side: measure(side, folder) for side in (OURS, ALONE, TREES)}
    rows[MASKS] = measure(MASKS, folder, 1)
    scores = [row[2] for row in rows.values()]
    if max(scores) - min(scores) > SAME:
        raise SystemExit(f"scores differ: {scores}")
    if interpreter := peers.python("octopi"):
        rows[OCTOPI] = measure(OCTOPI, folder, interpreter=str(interpreter))
    found = {TITLES.get(side, side): rows.get(side) for side in SIDES}
    return common.table(common.COSTS, common.costs(found, rows[OURS][0]))


def one_large_run(parent: Path, million: int, dense: int) -> tuple[str, str]:
    """What the groups of rows are, and the table."""
    crowds = {
        "apart": (million, 4.0, RADII, "few pairs in reach of each other"),
        "crowded": (million, 1.0, RADII, "clusters of 100,000s that hang together"),
        "dense": (dense, 0.6235, ["ribosome"], "one object in one cluster, each with some twenty others in reach"),
    }
    cells, words = [], []
    for name, (picks, scale, kinds, meaning) in crowds.items():
        if not picks:
            continue
        write_files(parent / name, 1, picks, scale, kinds)
        common.say(f"{picks:,} picks, {name}")
        words.append(f"{name}: {picks:,} picks, {meaning}")
        rows = {side: measure(side, parent / name, 1) for side in (OURS, ALONE, TREES)}
        cells += common.costs({f"{name}, {side}": row for side, row in rows.items()}, rows[OURS][0])
    return "; ".join(words), common.table(common.COSTS, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--picks", type=int, default=150)
    parser.add_argument("--million", type=int, default=1_000_000, help="picks of the one large run; 0 leaves it out")
    parser.add_argument("--dense", type=int, default=200_000, help="picks in one dense cluster; 0 leaves it out")
    for name in ("--side", "--folder", "--warm"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side, Path(asked.folder), Path(asked.warm), asked.repeats)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder) / "warm", 6, 30)
        parts = [f"{asked.runs} runs x {asked.picks} picks; the sides of the official rule agree to {SAME:.0e}:"]
        parts.append(many_runs(Path(folder), asked.runs, asked.picks))
        if asked.million or asked.dense:
            words, large = one_large_run(Path(folder), asked.million, asked.dense)
            parts += [f"All picks in one run ({words}):", large]
    there = not peers.lacking("octopi")
    common.write(
        *parts,
        "" if there else common.missing(["octopi"], {"octopi": peers.how("octopi")}),
        common.provenance(
            ("copick-tools", "numpy", "scipy", "pandas"),
            f"{peers.version('octopi')} in an environment of its own" if there else "",
            f"from CSV to the score, best of {REPEATS} warm calls, one of the masks and of each large run",
        ),
    )


if __name__ == "__main__":
    main()
