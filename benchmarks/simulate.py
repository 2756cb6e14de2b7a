"""`popsicle simulate phantom`, one run, the whole command: start, imports, and all that is written.

No other simulator of tomograms is timed: none of those looked for (polnet, faket, cryotomosim, TEM-simulator) has a release
that pip installs.

    python benchmarks/simulate.py [--shapes 64,256,256 184,630,630]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import common


def simulate(folder: Path, shape: str) -> common.Spent:
    """One run."""
    command = [str(common.BIN / "popsicle"), "simulate", "phantom", "-q", "--out", str(folder)]
    return common.timed([*command, "--runs", "1", "--shape", shape])


def row(title: str, took: common.Spent | None) -> list[str]:
    if took is None:
        return [title, *[common.NOTHING] * 4]
    return [title, common.seconds(took.wall), common.seconds(took.cpu), "1", common.mib(took.memory)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["64,256,256", "184,630,630"], metavar="Z,Y,X")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as parent:
        for number, shape in enumerate(asked.shapes):
            common.say(f"one run of {shape}")
            rows.append(row(f"ours, {shape.replace(',', ' x ')}", simulate(Path(parent) / str(number), shape)))
    rows.append(row("another simulator", None))
    common.write(
        common.table(["wall", "CPU", "CPU / ours", "memory"], rows),
        common.provenance(("copick-tools", "numpy", "scipy"), "one call each, start and imports included"),
    )


if __name__ == "__main__":
    main()
