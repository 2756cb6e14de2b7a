"""Scoring: ours against plain pandas and KD-trees, and against the official code's way, on the same files, in one go.

Each side in a process of its own, after its imports and one call to warm up; the best of three calls. Memory is what the
process's peak lies above what it holds before the calls (Linux).

    python benchmarks/score.py [--runs 500 --picks 150]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
VOLUME, LABELS = (184, 630, 630), 7
TARGET = "target 0.8"


def write_files(folder: Path, runs: int, picks: int, scale: float = 1.0) -> None:
    """Reference and submission: 30 angstrom off, a tenth lost, a tenth invented. scale: of the box's sides."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    count = runs * picks
    size = np.array([6300.0, 6300, 1840]) * scale
    run, kind = np.repeat(np.arange(runs), picks), rng.integers(0, len(RADII), count)
    xyz = (rng.random((count, 3)) * size).round(3)
    kept, new = rng.random(count) < 0.9, rng.random(count) < 0.1
    guess = np.concatenate([xyz[kept] + rng.normal(0, 30, (kept.sum(), 3)), rng.random((new.sum(), 3)) * size])
    rows = np.concatenate([np.flatnonzero(kept), np.flatnonzero(new)])
    for name, where, points in (("reference", np.arange(count), xyz), ("submission", rows, guess.round(3))):
        table = pd.DataFrame(points, columns=list("xyz"))
        table.insert(0, "particle_type", np.array(list(RADII))[kind[where]])
        table.insert(0, "experiment", [f"TS_{number:04}" for number in run[where]])
        table.to_csv(folder / f"{name}.csv", index_label="id")


def ours(folder: Path, rule: str = "kaggle") -> float:
    """The whole document: both rules, intervals, localization error, confusion."""
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import Overrides
    from copick_tools.workflows.score import Submission, score

    question = Submission(folder / "submission.csv", folder / "reference.csv", load_task("phantom"), Overrides(rule))
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


def volumes(labels: int) -> tuple:
    """Two label volumes of balls, the second moved."""
    import numpy as np

    rng = np.random.default_rng(0)
    volume = np.zeros(VOLUME, np.uint8)
    for _ in range(700):
        z, y, x = (int(rng.integers(0, size - 16)) for size in VOLUME)
        volume[z : z + 16, y : y + 16, x : x + 16] = rng.integers(1, labels + 1)
    return volume, np.roll(volume, 3, axis=1)


def dice_ours(_: Path) -> float:
    import numpy as np

    from copick_tools.metrics.dice import dice, overlap_counts

    return float(dice(overlap_counts(*VOLUMES, np.arange(1, LABELS + 1))).mean())


def dice_numpy(_: Path) -> float:
    """A mask for each label."""
    one, other = VOLUMES
    total = 0.0
    for label in range(1, LABELS + 1):
        left, right = one == label, other == label
        total += 2 * (left & right).sum() / (left.sum() + right.sum())
    return float(total / LABELS)


def dice_monai(_: Path) -> float:
    """MONAI's, one-hot in the network's layout."""
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    one, other = (one_hot(torch.from_numpy(v)[None, None], LABELS + 1, dtype=torch.uint8) for v in VOLUMES)
    return float(compute_dice(other, one, include_background=False).mean())


VOLUMES: tuple = ()
SIDES: dict[str, Callable[[Path], float]] = {
    "ours": ours,
    "ours, one-to-one": lambda folder: ours(folder, "one-to-one"),
    "ours, official rule alone": official_rule_alone,
    "pandas and KD-trees": kd_trees,
    "the official code's way": masks,
    "octopi": octopi,
    "Dice, ours": dice_ours,
    "Dice, a mask per label": dice_numpy,
    "Dice, MONAI": dice_monai,
}


def child(side: str, folder: Path, warm: Path | None, repeats: int) -> None:
    """Print score, best wall time, best CPU time, growth of the peak in MiB."""
    global VOLUMES
    if side.startswith("Dice"):
        VOLUMES = volumes(LABELS)
        importlib.import_module("copick_tools.metrics.dice" if side == "Dice, ours" else "numpy")
        if side == "Dice, MONAI":
            importlib.import_module("monai.metrics")
    work = SIDES[side]
    if warm:
        work(warm)
    before = restart_peak()
    times = []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        score = work(folder)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    grown = status("VmHWM") - before
    print(json.dumps([score, min(t[0] for t in times), min(t[1] for t in times), grown]))


def status(key: str) -> float:
    """MiB of this process (Linux); getrusage's peak would begin with that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def restart_peak() -> float:
    """Let the peak of memory begin anew; MiB in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def measure(side: str, folder: Path, warm: Path | None, repeats: int = REPEATS) -> list[float]:
    command = [sys.executable, "-W", "ignore", __file__, "--side", side, "--folder", str(folder)]
    command += ["--repeats", str(repeats), *(["--warm", str(warm)] if warm else [])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def show(side: str, row: list[float], base: list[float] | None, note: str = "") -> None:
    score, wall, cpu, grown = row
    ratio = f"{cpu / base[2]:8.1f}x" if base else " " * 9
    print(
        f"{side:28} {cpu:8.2f} CPU-s {wall:8.2f} s {ratio} {grown:8.0f} MiB  {score:.16f}  {note}".rstrip(), flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--picks", type=int, default=150)
    parser.add_argument("--million", type=int, default=1_000_000, help="picks of the one large run; 0 leaves it out")
    for name in ("--side", "--folder", "--warm"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        warm = Path(arguments.warm) if arguments.warm else None
        child(arguments.side, Path(arguments.folder), warm, arguments.repeats)
        return
    from importlib.metadata import version

    names = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "pandas"))
    print(f"{names}, python {platform.python_version()}; best of {REPEATS} warm calls, each side in its own process")
    print("CPU time, wall time, CPU time / ours, growth of peak memory, score")
    with tempfile.TemporaryDirectory() as parent:
        compare_scores(Path(parent), arguments.runs, arguments.picks)
        if arguments.million:
            one_large_run(Path(parent), arguments.million)
    compare_dice()


def compare_scores(parent: Path, runs: int, picks: int) -> None:
    warm, folder = parent / "warm", parent / "files"
    for path, size in ((warm, (6, 30)), (folder, (runs, picks))):
        path.mkdir()
        write_files(path, *size)
    print(f"\n{runs} runs x {picks} picks, CSV to score, official rule ({TARGET} CPU-s)")
    rows = {side: measure(side, folder, warm) for side in ("ours", "ours, official rule alone", "pandas and KD-trees")}
    rows["the official code's way"] = measure("the official code's way", folder, warm, 1)
    for side, row in rows.items():
        show(side, row, rows["ours"], "with both rules, intervals and diagnostics" if side == "ours" else "")
    spread = max(row[0] for row in rows.values()) - min(row[0] for row in rows.values())
    print(f"largest difference of scores: {spread:.1e}" + ("" if spread <= 1e-12 else "  DIFFERENT"))
    if importlib.util.find_spec("octopi"):
        show("octopi", measure("octopi", folder, warm), rows["ours"], "another rule, so another score")
    else:
        print("octopi                       not installed")
    if spread > 1e-12:
        raise SystemExit(1)


def one_large_run(parent: Path, picks: int) -> None:
    for name, scale in (("apart", 4.0), ("crowded: clusters of 100,000s that hang together", 1.0)):
        folder = parent / f"large{scale:g}"
        folder.mkdir()
        write_files(folder, 1, picks, scale)
        print(f"\n{picks:,} picks in one run, {name}; CSV to document")
        for side in ("ours, official rule alone", "ours", "ours, one-to-one"):
            show(side, measure(side, folder, parent / "warm", 1), None)


def compare_dice() -> None:
    print(f"\nDice of {VOLUME} uint8, {LABELS} labels (target 1.5 CPU-s, 50 MiB)")
    sides = ["Dice, ours", "Dice, a mask per label", *(["Dice, MONAI"] if importlib.util.find_spec("monai") else [])]
    rows = {side: measure(side, Path(), None) for side in sides}
    for side, row in rows.items():
        show(side, row, rows["Dice, ours"])


if __name__ == "__main__":
    main()
