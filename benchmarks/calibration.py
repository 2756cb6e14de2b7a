"""What learned thresholds are worth on simulated tomograms: the same checkpoint, several ways to its picks, in one go.

Simulates a project (phantom-sim), trains the small U-Net unless a checkpoint is given, calibrates on validation runs, and
scores the test runs, F4 under the task's rule, with paired bootstrap intervals over runs:

    argmax, components between balls of 0.5 and 1 radii      octopi's size window; targets here are painted at 0.5
    argmax, components from a tenth of the painted ball      a fixed least size that fits these targets
    the recipe's own extraction                              components taken apart, fixed thresholds
    calibrated                                               popsicle calibrate on the validation runs

    python benchmarks/calibration.py [--runs 14,12,20 --seed 11 --work build/calibration --checkpoint best.ckpt]
"""

from __future__ import annotations

import argparse
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RECIPE, TOMOGRAM, REFERENCE = "phantom-sim/unet-small", "wbp@10.012", "*:simulation/0"
Sets = Mapping[str, Any]  # object -> Points


def walked(label: str, results: Iterable[Any]) -> None:
    """Go through the runs of a workflow. Raises SystemExit when one fails."""
    for result in results:
        if result.status == "failed":
            raise SystemExit(f"{label}: run {result.run} failed: {result.error}")


def project_of(work: Path, runs: tuple[int, int, int], seed: int) -> Any:
    """Simulated tomograms with splits of these sizes."""
    from copick_tools.data.splits import write_splits
    from copick_tools.workflows.simulate import PhantomProject, simulate

    project, names, made = simulate(work / "project", PhantomProject(runs=sum(runs), seed=seed))
    walked("simulate", made)
    ends = np.cumsum([0, *runs])
    parts = [names[a:b] for a, b in zip(ends, ends[1:])]
    write_splits(project, dict(zip(("train", "val", "test"), parts)))
    return project


def trained(work: Path, project: Any) -> Path:
    """The checkpoint of the shipped recipe."""
    from copick_tools.workflows.train import plan_training, train

    plan = plan_training(project, RECIPE, (), work / "experiment")
    best, _ = train(project, plan, lambda done, total: None, resume=True)
    return best


def calibrated(checkpoint: Path, project: Any) -> Any:
    """Learned thresholds, beside the checkpoint."""
    from copick_tools.data import uris
    from copick_tools.workflows.calibrate import Calibrating, calibrate, finished, plan_calibration
    from copick_tools.workflows.predict import NONE, Model, Options

    model = Model.open(checkpoint, options=Options(thresholds=NONE))
    asked = Calibrating(uris.tomogram_uri(TOMOGRAM), (uris.picks_uri(REFERENCE),), split="val")
    plan = plan_calibration(model, checkpoint, project, (), asked)
    return finished(plan) or calibrate(plan, lambda done, total: None)


def argmax_components(model: Any, project: Any, run: str) -> dict[str, dict[str, Any]]:
    """Picks by the likeliest class of each voxel, for both ways to bound the size of a component."""
    import cc3d

    from copick_tools.data import read, uris
    from copick_tools.types import Points
    from copick_tools.volumes.coordinates import to_angstrom

    stored = read.read_tomogram(project, run, uris.tomogram_uri(TOMOGRAM))
    labels = np.zeros(stored.shape, np.uint8)
    for z0, probabilities in model.predictor.slabs(stored):
        labels[z0 : z0 + probabilities.shape[1]] = probabilities.argmax(axis=0)
    components = cc3d.connected_components(labels, connectivity=26)
    table = cc3d.statistics(components)
    kind = np.zeros(components.max() + 1, int)
    kind[components.ravel()] = labels.ravel()
    found: dict[str, dict[str, Any]] = {"window": {}, "least": {}}
    for particle in model.particles:
        radius, painted = particle.radius / stored.voxel_spacing, (particle.ball or 0) / stored.voxel_spacing
        bounds = {"window": (ball(radius / 2), ball(radius)), "least": (0.1 * ball(painted), np.inf)}
        for name, (low, high) in bounds.items():
            good = (kind == particle.label) & (table["voxel_counts"] >= low) & (table["voxel_counts"] <= high)
            found[name][particle.name] = Points.at(to_angstrom(table["centroids"][good], stored.voxel_spacing))
    return found


def ball(radius: float) -> float:
    """Voxels."""
    return 4 / 3 * np.pi * radius**3


def localized(checkpoint: Path, project: Any, runs: list[str], session: str, thresholds: str | None) -> dict[str, Sets]:
    """Picks of `localize`."""
    from copick_tools.data import read, uris
    from copick_tools.workflows.localize import Localizing, localize
    from copick_tools.workflows.predict import Options

    output, tomogram = uris.picks_uri(f":benchmark/{session}", output=True), uris.tomogram_uri(TOMOGRAM)
    task = Localizing(checkpoint, project, tomogram, output, Options(thresholds=thresholds), overwrite=True)
    walked("localize", localize(task, runs))
    return {run: read.read_picks(project, run, [uris.picks_uri(f"*:benchmark/{session}")]) for run in runs}


def report(reference: Mapping[str, Sets], ways: Mapping[str, Mapping[str, Sets]], say: Callable[[str], None]) -> None:
    """A row per way, and what calibration gains over it."""
    from copick_tools.metrics.points import score_points
    from copick_tools.metrics.table import PointTable
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import point_rule

    task = load_task("phantom-sim")
    radii = {entry.name: entry.radius or 0 for entry in task.targets}
    runs, names = tuple(reference), tuple(radii)
    truth = PointTable.of(reference, runs, names)
    scores = {
        way: score_points(truth, PointTable.of(sets, runs, names), point_rule(task, radii))
        for way, sets in ways.items()
    }
    best = scores["calibrated"]
    for way, found in scores.items():
        bounds = found.score_interval()
        spread = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
        line = f"| {way} | {found.score():.4f}{spread} |"
        paired = best.against(found)
        if found is not best and paired is not None:
            gain = paired[0]
            line += f" {float(gain.difference):+.4f} [{float(gain.low):+.3f}, {float(gain.high):+.3f}] |"
        say(line)
        say("    " + ", ".join(f"{name} {value:.3f}" for name, value in zip(names, found.fbeta())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="14,12,20", help="train, val, test")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--work", type=Path, default=Path("build/calibration"))
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    from copick_tools.data import read, splits, uris
    from copick_tools.workflows.predict import NONE, Model, Options

    first, second, third = (int(part) for part in arguments.runs.split(","))
    work = arguments.work
    project = project_of(work, (first, second, third), arguments.seed)
    if arguments.checkpoint:
        checkpoint = work / "given" / "best.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.checkpoint, checkpoint)
    else:
        checkpoint = trained(work, project)
    thresholds = calibrated(checkpoint, project)
    setting = thresholds.settings[0]
    runs = splits.runs(project, "test")
    model = Model.open(checkpoint, options=Options(thresholds=NONE))
    simple = {run: argmax_components(model, project, run) for run in runs}
    ways = {
        "argmax, components of 0.5 to 1 radii": {run: found["window"] for run, found in simple.items()},
        "argmax, components from a tenth of the ball": {run: found["least"] for run, found in simple.items()},
        "the recipe's extraction": localized(checkpoint, project, runs, "recipe", NONE),
        "calibrated": localized(checkpoint, project, runs, "calibrated", None),
    }
    reference = {run: read.read_picks(project, run, [uris.picks_uri(REFERENCE)]) for run in runs}
    print(f"copick_tools {version('copick-tools')}, torch {version('torch')}, python {platform.python_version()}")
    print(f"{first} training, {second} validation, {third} test runs, seed {arguments.seed}")
    print(f"cross-validated on the validation runs: {setting.score} {setting.ci95}; recipe {setting.recipe_score}")
    report(reference, ways, print)


if __name__ == "__main__":
    main()
