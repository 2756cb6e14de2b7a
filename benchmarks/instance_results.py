"""Every way to instances on simulated organelles, trained for the same number of steps: by command, from simulation to score.

    python benchmarks/instance_results.py [--seeds 1]

Simulates 19 tomograms (task organelle-sim, preset hard, seed 0: 7 to train on, 2 to choose on, 10 to score) under
build/instance-results, unless they are there, and goes on with the benchmark run where it was. Five trainings of three minutes each
on two quiet cores. Slices are also stitched, with the same network, and labels told apart by components and by watershed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import provenance, say, table, write

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "instance-results"
TASK, SPLITS = "organelle-sim", {"train": 7, "val": 2, "test": 10}
RECIPES = {
    "ais": "distances in 3D, watershed (AIS)",
    "flows": "flows in 3D",
    "slices": "flows in slices, three views averaged",
    "semantic": "labels, components",
    "boundary": "boundaries in 3D, watershed",
}
MORE = {  # row -> recipe, how it is made otherwise
    "flows in slices, stitched": ("slices", "stitched"),
    "labels, components, gaps of networks joined": ("semantic", "components"),
    "labels, watershed by shape, gaps of networks joined": ("semantic", "watershed"),
}
TRUTH = "organelles:simulation/0?multilabel=true"
METHODS = """
# for objects that are never cut what the other recipes say of them
objects:
  endoplasmic-reticulum: {{method: network, join: 8, min_volume: 4000}}
  periplasm: {{method: network, join: 8, min_volume: 4000}}
  bacterial-cytoplasm: {{method: network, join: 8, min_volume: 4000}}
others: {{method: {how}, min_volume: 4000}}
"""
NUMBERS = ("mean_segmentation_accuracy", "ap50")


def popsicle(*arguments: str) -> Any:
    """The JSON of a command of ours. Raises SystemExit where it fails."""
    done = subprocess.run([sys.executable, "-m", "copick_tools.cli", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"popsicle {' '.join(arguments)} failed")
    return json.loads(done.stdout) if done.stdout.startswith("{") else None


def project(folder: Path) -> Path:
    """The simulated project, made where it isn't there."""
    popsicle("simulate", "organelles", "--out", str(folder), "--runs", str(sum(SPLITS.values())), "-w", "2")
    counts = ",".join(f"{name}={count}" for name, count in SPLITS.items())
    popsicle("split", "-c", str(folder), "--counts", counts, "--seed", "0", "--reference", TRUTH, "--overwrite")
    return folder


def otherwise(data: Path, bench: Path, recipe: str, how: str, seed: int) -> Any:
    """The score of a network whose output is made instances in another way."""
    checkpoint = bench / names()[recipe] / f"seed-{seed}" / "best.ckpt"
    config, session = ["-c", str(data), "--split", "test"], f"{recipe}-{how}/{seed}"
    output = f"cells:{session}?panoptic=true"
    tomograms = [str(checkpoint), "-i", "wbp@20", *config]
    if how == "stitched":
        popsicle("segment", *tomograms, "-o", output, "-s", "instances.views=stitched", "--overwrite")
    else:
        labels = f"cells:{session}?multilabel=true"
        popsicle("segment", *tomograms, "-o", labels, "--overwrite")
        methods = HOME / f"{how}.yaml"
        methods.write_text(METHODS.format(how=how), encoding="utf-8")
        popsicle("instances", *config, "-i", labels, "-o", output, "--methods", str(methods), "--overwrite")
    return popsicle("evaluate", *config, "-i", output, "--task", TASK, "--json")


def names() -> dict[str, str]:
    """What `bench` calls the recipes."""
    return {name: "slices" if name == "slices" else f"octopi-{name}" for name in RECIPES}


def cells(results: list[Any]) -> list[str]:
    """Score with its interval, then accuracy and AP50 of each object; means over seeds."""

    def mean(values: list[float | None]) -> float:
        known = [value for value in values if value is not None]
        return sum(known) / max(1, len(known))

    low, high = (mean([result["ci95"][side] for result in results]) for side in (0, 1))
    found = [f"{mean([result['score'] for result in results]):.3f} [{low:.2f}, {high:.2f}]"]
    for name in results[0]["objects"]:
        numbers = [mean([result["objects"][name][number] for result in results]) for number in NUMBERS]
        found.append(" / ".join(f"{number:.2f}" for number in numbers))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="only this; repeat for more")
    asked = parser.parse_args()
    chosen = {name: title for name, title in RECIPES.items() if name in (asked.recipe or RECIPES)}
    data, bench = project(HOME / "cells"), HOME / "bench"
    recipes = [f"{TASK}/{name}" for name in chosen]
    popsicle("bench", *recipes, "-c", str(data), "--seeds", str(asked.seeds), "--split", "test", "--out", str(bench))
    rows, seeds = [], range(asked.seeds)
    for recipe, title in chosen.items():
        folders = [bench / names()[recipe] / f"seed-{seed}" for seed in seeds]
        results = [json.loads((folder / "scores.json").read_text()) for folder in folders]
        used = [json.loads((folder / "usage.json").read_text())["seconds"] for folder in folders]
        rows.append([title, *cells(results), f"{sum(used) / len(used):.0f} s"])
    for title, (recipe, how) in ((title, way) for title, way in MORE.items() if way[0] in chosen):
        say(title)
        rows.append([title, *cells([otherwise(data, bench, recipe, how, seed) for seed in seeds]), "the same network"])
    objects = json.loads((bench / names()[next(iter(chosen))] / "seed-0" / "scores.json").read_text())["objects"]
    left = [RECIPES[name] for name in RECIPES if name not in chosen]
    write(
        "Mean segmentation accuracy (score: mean over objects, 95% interval by bootstrap over runs; then accuracy / AP50 of each "
        f"object), {SPLITS['test']} held-out runs, {asked.seeds} training{'s' if asked.seeds > 1 else ''} each:",
        table(["score", *objects, "training"], rows),
        f"Not trained here: {', '.join(left)}." if left else "",
        provenance(("copick-tools", "torch", "monai", "numpy", "scipy"), "simulated data"),
    )


if __name__ == "__main__":
    main()
