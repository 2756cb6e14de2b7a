"""Every family on simulated data, for the same budget and three seeds: the table of `popsicle bench`.

    python benchmarks/results.py                          all families, where they are made for a CPU (`phantom-sim/tiny`)
    python benchmarks/results.py --family octopi          only this; repeat for more
    python benchmarks/results.py --device cuda:0,cuda:1   each device has trainings of its own

Simulates 19 tomograms (preset hard, seed 0: 7 to train on as in the paper, 2 to choose on, 10 to score) under
build/results, unless they are there, and goes on with the benchmark run where it was. Takes an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from common import provenance, say, write

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("octopi", "deepfinder", "nnunet", "nnunet-resenc", "swinunetr", "deepetpicker", "mednext")
SPLITS = {"train": 7, "val": 2, "test": 10}
SEEDS = 3


def popsicle(*arguments: str) -> None:
    """A command of ours. Raises SystemExit where it fails."""
    done = subprocess.run([sys.executable, "-m", "copick_tools.cli", *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"popsicle {' '.join(arguments)} failed")


def project(folder: Path) -> Path:
    """The simulated project, made where it isn't there."""
    runs = str(sum(SPLITS.values()))
    popsicle("simulate", "phantom", "--out", str(folder), "--runs", runs, "--seed", "0")
    counts = ",".join(f"{name}={count}" for name, count in SPLITS.items())
    balanced = ["--reference", "*:simulation/0", "--seed", "0"]  # the truth, whatever was predicted since
    popsicle("split", "-c", str(folder), "--counts", counts, *balanced, "--overwrite")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this; repeat for more")
    parser.add_argument("--recipe", default="phantom-sim/tiny", help="for all of them [default: phantom-sim/tiny]")
    parser.add_argument("--device", default="auto", help="as in popsicle bench")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "results")
    asked = parser.parse_args()
    families = tuple(asked.family or FAMILIES)
    data = project(asked.out / "phantom-sim")
    chosen = [part for name in families for part in ("--family", name)]
    folder = asked.out / "bench"
    more = ["--seeds", str(SEEDS), "--device", asked.device, "--out", str(folder)]
    try:
        popsicle("bench", asked.recipe, *chosen, "-c", str(data), *more)
    except SystemExit as error:  # what is finished is worth a table
        say(str(error))
    left = [name for name in FAMILIES if name not in families]
    text = (folder / "table.md").read_text(encoding="utf-8").strip()
    write(
        text,
        f"Not trained here: {', '.join(left)}." if left else "",
        provenance(("copick-tools", "torch", "monai", "nnunetv2", "numpy", "scipy")),
    )


if __name__ == "__main__":
    main()
