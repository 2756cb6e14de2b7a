"""What learned thresholds are worth on simulated tomograms: the same checkpoint, several ways to its picks, in one go.

Simulates a project (phantom-sim), trains the small U-Net unless a checkpoint is given, calibrates on validation runs, and
scores the test runs, F4 under the task's rule, with paired bootstrap intervals over runs:

    argmax, components between balls of 0.5 and 1 radii      octopi's size window; targets here are painted at 0.5
    argmax, components from a tenth of the painted ball      a fixed least size that fits these targets
    the recipe's own extraction                              components taken apart, fixed thresholds
    calibrated                                               popsicle calibrate on the validation runs

The folder build/calibration keeps the project and the checkpoint, for other benchmarks and for the next time.

    python benchmarks/calibration.py [--runs 14,12,20 --seed 11 --work build/calibration --checkpoint best.ckpt]
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common

if TYPE_CHECKING:
    from copick_tools.metrics.points import PointScores

RECIPE, TOMOGRAM, REFERENCE = "phantom-sim/unet-small", "wbp@10.012", "*:simulation/0"
WINDOW, LEAST = (
    "argmax, components between balls of 0.5 and 1 radii",
    "argmax, components from a tenth of the painted ball",
)
RECIPE_ALONE, CALIBRATED = "the recipe's extraction", "calibrated"
Sets = Mapping[str, Any]  # object -> Points


def walked(label: str, results: Iterable[Any]) -> None:
    """Go through the runs of a workflow. Raises SystemExit when one fails."""
    for result in results:
        if result.status == "failed":
            raise SystemExit(f"{label}: run {result.run} failed: {result.error}")


def project_of(work: Path, runs: tuple[int, int, int], seed: int) -> Any:
    """Simulated tomograms with splits of these sizes; those that are there stay."""
    import numpy as np

    from copick_tools.data.splits import write_splits
    from copick_tools.workflows.simulate import PhantomProject, simulate

    project, names, made = simulate(work / "project", PhantomProject(runs=sum(runs), seed=seed))
    walked("simulate", made)
    ends = np.cumsum([0, *runs])
    parts = [names[a:b] for a, b in zip(ends, ends[1:])]
    write_splits(project, dict(zip(("train", "val", "test"), parts)))
    return project


def trained(work: Path, project: Any, settings: tuple[str, ...]) -> Path:
    """The checkpoint of the shipped recipe."""
    from copick_tools.workflows.train import plan_training, train

    plan = plan_training(project, RECIPE, settings, work / "experiment")
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
    import numpy as np

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
    found: dict[str, dict[str, Any]] = {WINDOW: {}, LEAST: {}}
    for particle in model.particles:
        radius, painted = particle.radius / stored.voxel_spacing, (particle.ball or 0) / stored.voxel_spacing
        bounds = {WINDOW: (ball(radius / 2), ball(radius)), LEAST: (0.1 * ball(painted), np.inf)}
        for name, (low, high) in bounds.items():
            good = (kind == particle.label) & (table["voxel_counts"] >= low) & (table["voxel_counts"] <= high)
            found[name][particle.name] = Points.at(to_angstrom(table["centroids"][good], stored.voxel_spacing))
    return found


def ball(radius: float) -> float:
    """Voxels."""
    return 4 / 3 * 3.141592653589793 * radius**3


def localized(checkpoint: Path, project: Any, runs: list[str], session: str, thresholds: str | None) -> dict[str, Sets]:
    """Picks of `localize`."""
    from copick_tools.data import read, uris
    from copick_tools.workflows.localize import Localizing, localize
    from copick_tools.workflows.predict import Options

    output, tomogram = uris.picks_uri(f":benchmark/{session}", output=True), uris.tomogram_uri(TOMOGRAM)
    task = Localizing(checkpoint, project, tomogram, output, Options(thresholds=thresholds), overwrite=True)
    walked("localize", localize(task, runs))
    return {run: read.read_picks(project, run, [uris.picks_uri(f"*:benchmark/{session}")]) for run in runs}


def scored(reference: Mapping[str, Sets], ways: Mapping[str, Mapping[str, Sets]]) -> dict[str, PointScores]:
    """Each way under the task's rule."""
    from copick_tools.metrics.points import score_points
    from copick_tools.metrics.table import PointTable
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import point_rule

    task = load_task("phantom-sim")
    radii = {entry.name: entry.radius or 0 for entry in task.targets}
    runs, names = tuple(reference), tuple(radii)
    truth = PointTable.of(reference, runs, names)
    scores = {}
    for way, sets in ways.items():
        scores[way] = score_points(truth, PointTable.of(sets, runs, names), point_rule(task, radii))
        objects = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, scores[way].fbeta()))
        common.say(f"  {way}: {scores[way].score():.4f}; {objects}")
    return scores


def row(way: str, found: PointScores, best: PointScores) -> list[str]:
    """F4 with its interval, as a share of the calibrated, and what calibration gains over it."""
    bounds = found.score_interval()
    spread = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    cells = [way, f"{found.score():.3f}{spread}", common.ratio(found.score(), best.score()), ""]
    if found is not best and (paired := best.against(found)) is not None:
        gain = paired[0]
        cells[-1] = f"{float(gain.difference):.3f} [{float(gain.low):.3f}, {float(gain.high):.3f}]"
    return cells


def compare(asked: argparse.Namespace) -> tuple[dict[str, PointScores], Any]:
    """The scores of all ways on the test runs, and what calibration promised."""
    from copick_tools.data import read, splits, uris
    from copick_tools.workflows.predict import NONE, Model, Options

    work = asked.work
    project = project_of(work, asked.runs, asked.seed)
    if asked.checkpoint:
        checkpoint = work / "given" / "best.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asked.checkpoint, checkpoint)
    else:
        checkpoint = trained(work, project, tuple(asked.set))
    setting = calibrated(checkpoint, project).settings[0]
    runs = splits.runs(project, "test")
    model = Model.open(checkpoint, options=Options(thresholds=NONE))
    simple = {run: argmax_components(model, project, run) for run in runs}
    ways = {way: {run: found[way] for run, found in simple.items()} for way in (WINDOW, LEAST)}
    ways[RECIPE_ALONE] = localized(checkpoint, project, runs, "recipe", NONE)
    ways[CALIBRATED] = localized(checkpoint, project, runs, "calibrated", None)
    reference = {run: read.read_picks(project, run, [uris.picks_uri(REFERENCE)]) for run in runs}
    return scored(reference, ways), setting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=parts, default="14,12,20", help="train, val, test")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--work", type=Path, default=Path("build/calibration"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument(
        "-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe, to try it"
    )
    asked = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # copick's banner
        scores, setting = compare(asked)
    training, validation, test = asked.runs
    spread = f" [{setting.ci95[0]:.3f}, {setting.ci95[1]:.3f}]" if setting.ci95 else ""
    promised = "nothing" if setting.score is None else f"{setting.score:.3f}{spread}"
    model = "a given checkpoint" if asked.checkpoint else f"trained on {training}"
    common.write(
        f"Seed {asked.seed}: {model}, calibrated on {validation} simulated tomograms, scored on {test} others:",
        common.table(
            ["F4", "F4 / calibrated", "calibrated gains"], [row(k, v, scores[CALIBRATED]) for k, v in scores.items()]
        ),
        f"Cross-validated on the validation runs, calibration promised {promised}.",
        common.provenance(("copick-tools", "torch", "monai"), *asked.set),
    )


def parts(text: str) -> tuple[int, int, int]:
    first, second, third = (int(part) for part in text.split(","))
    return first, second, third


if __name__ == "__main__":
    main()
