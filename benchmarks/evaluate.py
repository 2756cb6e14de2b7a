"""`popsicle evaluate` on a stored project, whole commands: picks in thousands of files, and segmentations in zarr.

Beside it a script that does less: copick reads the same picks, each as an object, and scores nothing; copick reads both
segmentations whole, for a mask per label. Start and imports are in all numbers; memory is that of the whole process.

    python benchmarks/evaluate.py [--runs 500 --picks 150 --shapes 184,630,630 368,1024,1024]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import common
from dice import LABELS, volumes

SPACING = 10.012
NAMES = [f"compartment-{label}" for label in range(1, LABELS + 1)]
URIS = [f"cells:{user}@{SPACING}?multilabel=true" for user in ("prediction/1", "truth/0")]


# ---- each in a process of its own, so that the memory of one isn't counted for the next --------------------------------
def make_picks(folder: Path, runs: int, picks: int) -> None:
    """A project of task phantom with references `*:data-portal/0` and predictions `*:m/1`, 30 angstrom off."""
    import numpy as np

    from copick_tools.data.project import create_project, project_objects
    from copick_tools.recipes.load import load_task

    root = create_project(folder, "picks", project_objects(load_task("phantom")), "benchmark").root
    rng, names = np.random.default_rng(0), [entry.name for entry in load_task("phantom").targets]
    for number in range(runs):
        run = root.new_run(f"TS_{number:04}")
        xyz, kind = rng.random((picks, 3)) * (6300, 6300, 1840), rng.integers(0, len(names), picks)
        for index, name in enumerate(names):
            points = xyz[kind == index]
            run.new_picks(name, "0", "data-portal").from_numpy(points)
            run.new_picks(name, "1", "m").from_numpy(points + rng.normal(0, 30, points.shape))


def read_picks(folder: Path) -> None:
    """Every pick set as two arrays."""
    import copick

    for run in copick.from_file(str(folder / "copick.json")).runs:
        for picks in run.get_picks():
            picks.numpy()


def make_segmentations(folder: Path, shape: tuple[int, ...]) -> None:
    """A project with one run and two segmentations."""
    from copick_tools.data.project import ProjectObject, create_project

    objects = [ProjectObject(name, label, None, False, (0, 0, 0, 255)) for label, name in enumerate(NAMES, 1)]
    run = create_project(folder, "segmentations", objects, "benchmark").root.new_run("TS_1")
    for (user, session), labels in zip((("prediction", "1"), ("truth", "0")), volumes(shape)):
        run.new_segmentation(SPACING, "cells", session, True, user).from_numpy(labels)


def read_segmentations(folder: Path) -> None:
    """Dice and IoU by a mask for each label."""
    import copick

    run = copick.from_file(str(folder / "copick.json")).runs[0]
    one, other = (segmentation.numpy() for segmentation in run.get_segmentations(name="cells"))
    for label in range(1, LABELS + 1):
        left, right = one == label, other == label
        both, either = (left & right).sum(), (left | right).sum()
        assert 2 * both / (left.sum() + right.sum()) >= both / either > 0


# ---- the tables -----------------------------------------------------------------------------------------------------
def own(job: str, folder: Path, *more: str) -> common.Spent:
    """Run one of the above."""
    return common.timed([sys.executable, "-W", "ignore", __file__, "--job", job, "--folder", str(folder), *more])


def evaluate(folder: Path, *options: str) -> common.Spent:
    """The command."""
    return common.timed([str(common.BIN / "popsicle"), "evaluate", "-q", "-c", str(folder), *options])


def rows(found: dict[str, common.Spent]) -> str:
    """The first is ours."""
    for name, took in found.items():
        common.say(f"  {name}: {took.cpu:.2f} CPU-s, {took.memory:.0f} MiB")
    ours = next(iter(found.values())).cpu
    return common.table(common.COSTS, common.costs({k: (v.cpu, v.memory) for k, v in found.items()}, ours))


def compare_picks(folder: Path, runs: int, picks: int) -> list[str]:
    common.say(f"{runs} runs x {picks} picks")
    own("make-picks", folder, "--runs", str(runs), "--picks", str(picks))
    files = sum(1 for _ in folder.glob("ExperimentRuns/*/Picks/*.json"))
    found = {
        '`popsicle evaluate -i "*:m/1" --task phantom`': evaluate(folder, "-i", "*:m/1", "--task", "phantom"),
        "copick reads the picks, and scores nothing": own("read-picks", folder),
    }
    return [f"Picks, {runs} runs x {picks} on either side, {files:,} JSON files:", rows(found)]


def compare_segmentations(folder: Path, shape: str) -> list[str]:
    common.say(f"two segmentations of {shape}")
    own("make-segmentations", folder, "--shapes", shape)
    question = "-i", URIS[0], "--reference", URIS[1]
    surfaces = [word for name in NAMES for word in ("--surface", name)]
    found = {
        "popsicle evaluate: Dice and IoU": evaluate(folder, *question),
        "copick reads both, a mask per label": own("read-segmentations", folder),
        "popsicle evaluate: Dice, IoU, and surface Dice of all labels": evaluate(folder, *question, *surfaces),
    }
    return [f"Two segmentations of {shape.replace(',', ' x ')} voxels, {LABELS} labels:", rows(found)]


JOBS = {
    "make-picks": lambda asked: make_picks(asked.folder, asked.runs, asked.picks),
    "read-picks": lambda asked: read_picks(asked.folder),
    "make-segmentations": lambda asked: make_segmentations(asked.folder, sizes(asked.shapes[0])),
    "read-segmentations": lambda asked: read_segmentations(asked.folder),
}


def sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--picks", type=int, default=150)
    parser.add_argument("--shapes", nargs="*", default=["184,630,630", "368,1024,1024"], metavar="Z,Y,X")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        JOBS[asked.job](asked)
        return
    parts = []
    with tempfile.TemporaryDirectory() as parent:
        if asked.runs:
            parts += compare_picks(Path(parent) / "picks", asked.runs, asked.picks)
        for number, shape in enumerate(asked.shapes):
            parts += compare_segmentations(Path(parent) / str(number), shape)
    packages = ("copick-tools", "copick", "zarr", "numpy")
    common.write(*parts, common.provenance(packages, "one call each, start and imports included"))


if __name__ == "__main__":
    main()
