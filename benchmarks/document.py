"""Measure again, and put what the scripts print into docs/benchmarks.md.

    python benchmarks/document.py [NAME...]     all blocks, or those of scripts and markers: score, localize, results
    python benchmarks/document.py --list        what there is, and what this machine can't run

The document has a block for each command of `BLOCKS`, between the lines `<!-- MARKER -->` and `<!-- end -->`; its marker is
the command, unless it says otherwise. A block is replaced by the stdout of its command, everything else stays as it is.
What this machine can't run (a peer, GPU or trained model that isn't there) is skipped and named: a table measured without
its peers would take their numbers out of the document (`--without-peers` does that). Where a command fails its old block
stays, the others go on, and the exit code is 1. Nothing is installed or downloaded.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peers
from common import BIN, environment, say

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
END = "<!-- end -->"
TRAINED, SIMULATED = "build/calibration/experiment/best.ckpt", "build/calibration/project"


@dataclass(frozen=True)
class Block:
    """command: a script of this repository, or `popsicle`, with its arguments. peers: all its numbers need them.

    files: made by ``maker``, which is named where one isn't there. gpu: needs a CUDA device.
    """

    command: str
    name: str = ""
    peers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    maker: str = "python benchmarks/calibration.py"
    gpu: bool = False

    @property
    def marker(self) -> str:
        return self.name or self.command

    @property
    def names(self) -> set[str]:
        """What it is asked for by."""
        return {self.marker, Path(self.command.split()[0]).stem}

    def arguments(self) -> list[str]:
        """What is run."""
        first, *rest = shlex.split(self.command)
        return [str(BIN / first), *rest] if first == "popsicle" else [sys.executable, first, *rest]


BLOCKS = (
    Block("benchmarks/localize.py", peers=("octopi", "copick-utils")),
    Block("benchmarks/large_volume.py"),
    Block("benchmarks/semantic_instances.py"),
    Block("benchmarks/semantic_instances.py --large"),
    Block("benchmarks/inference.py"),
    Block("benchmarks/inference.py --device cuda", gpu=True),
    Block("benchmarks/calibration.py"),
    Block(
        f"benchmarks/calibration.py --seed 77 --work build/calibration-77 --checkpoint {TRAINED}",
        name="benchmarks/calibration.py --seed 77",
        files=(TRAINED,),
    ),
    Block(f"benchmarks/agreement.py {TRAINED} -c {SIMULATED}", name="benchmarks/agreement.py", files=(TRAINED,)),
    Block("benchmarks/simulate.py"),
    Block(f"benchmarks/tomogram.py {TRAINED}", name="benchmarks/tomogram.py", files=(TRAINED,)),
    Block("benchmarks/score.py", peers=("octopi",)),
    Block("benchmarks/dice.py"),
    Block("benchmarks/instance_metrics.py", peers=("stardist", "elf")),
    Block("benchmarks/learned_instances.py", peers=("cellpose",)),
    Block("benchmarks/learned_instances.py --noise"),
    Block("benchmarks/prompting.py"),
    Block("benchmarks/cellpose_sam.py", peers=("cellpose",)),
    Block("benchmarks/microsam.py", peers=("microsam",)),
    Block("benchmarks/instance_results.py"),
    Block("benchmarks/evaluate.py"),
    Block("benchmarks/fetch.py"),
    Block("benchmarks/fetch.py --runs 3 --repeats 1"),
    Block("benchmarks/fetch_many.py"),
    Block(
        "benchmarks/results.py --family octopi --family deepfinder --family nnunet --family nnunet-resenc",
        name="results",
    ),
)


class MarkerError(ValueError):
    """A block isn't in the document as it should be."""


def replaced(text: str, marker: str, body: str) -> str:
    """The document with the lines between a marker and its end replaced. Raises MarkerError."""
    lines, begin = text.splitlines(), f"<!-- {marker} -->"
    places = [number for number, line in enumerate(lines) if line.strip() == begin]
    if len(places) != 1:
        raise MarkerError(f"{'no' if not places else 'more than one'} line {begin!r}")
    after = lines[places[0] + 1 :]
    stop = next((number for number, line in enumerate(after) if line.strip().startswith("<!-- ")), None)
    if stop is None or after[stop].strip() != END:
        raise MarkerError(f"no line {END!r} after {begin!r}")
    return "\n".join([*lines[: places[0] + 1], *body.strip().splitlines(), *after[stop:]]) + "\n"


def lacks(block: Block, with_peers: bool = True) -> list[str]:
    """What this machine lacks to run it, and how to get that."""
    wanted = block.peers if with_peers else ()
    found = [f"{name} is {reason} ({peers.how(name)})" for name in wanted if (reason := peers.lacking(name))]
    found += [f"no {name} (made by {block.maker})" for name in block.files if not (ROOT / name).exists()]
    return found + (["no CUDA device"] if block.gpu and not has_cuda() else [])


@functools.cache
def has_cuda() -> bool:
    """Asked in a process of its own: torch takes long to import."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def run(block: Block) -> str | None:
    """What its command prints; None, and a line on stderr, where it fails or says nothing."""
    done = subprocess.run(block.arguments(), stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)
    if done.returncode or not done.stdout.strip():
        reason = f"exit {done.returncode}" if done.returncode else "it printed nothing"
        say(f"{block.marker}: failed ({reason}), its old block stays")
        return None
    return done.stdout


def write(path: Path, text: str) -> None:
    """The whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def update(path: Path, blocks: Sequence[Block], with_peers: bool = True) -> int:
    """Run blocks and replace them, each when it is done; the exit code."""
    failed = []
    for block in blocks:
        if reasons := lacks(block, with_peers):
            say(f"{block.marker}: skipped, {'; '.join(reasons)}")
            continue
        say(f"{block.marker}: runs")
        body = run(block)
        if body is None:
            failed.append(block.marker)
            continue
        write(path, replaced(path.read_text(encoding="utf-8"), block.marker, body))
        say(f"{block.marker}: written")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def chosen(names: Sequence[str]) -> list[Block]:
    """All blocks, or those of these names. Raises LookupError, which names what there is."""
    known = set().union(*(block.names for block in BLOCKS))
    if unknown := [name for name in names if name not in known]:
        short = sorted(name for name in known if "/" not in name)
        raise LookupError(f"no benchmark {unknown[0]!r}; there are {', '.join(short)}, and the markers in the document")
    return [block for block in BLOCKS if not names or block.names & set(names)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a script, or the marker of a block; default: all")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="default: docs/benchmarks.md")
    parser.add_argument("--without-peers", action="store_true", help="run where peers aren't installed, too")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    asked = parser.parse_args()
    try:
        blocks = chosen(asked.names)
    except LookupError as error:
        parser.error(str(error))
    if asked.list:
        for block in blocks:
            print(f"{block.marker}: {'; '.join(lacks(block, not asked.without_peers)) or 'ready'}")
        return
    try:
        text = asked.document.read_text(encoding="utf-8")
        for block in blocks:  # before hours are spent
            replaced(text, block.marker, "")
    except (OSError, MarkerError) as error:
        raise SystemExit(f"{asked.document}: {error}") from None
    sys.exit(update(asked.document, blocks, not asked.without_peers))


if __name__ == "__main__":
    main()
