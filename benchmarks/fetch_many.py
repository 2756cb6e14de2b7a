"""`popsicle fetch` of very many small files, and of one large volume, from a local portal that answers at once.

Hundreds of runs of the phantom's kind: to plan them, to fetch them, to see that all is there; `copick sync` of the same. Then
one volume in chunks of 256^3. Whole commands, start and imports included; memory is that of the largest process.

    python benchmarks/fetch_many.py [--runs 7,121,172 --large 1024,640,640]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common
import fetch

LARGE, FETCH = "large", "`fetch`"
DATASETS = 10440, 10445, 10446


def serve(shape: tuple[int, ...], arguments: list[str]) -> None:
    """A portal with one large tomogram; what else it is told as `local_portal` is."""
    sys.path.insert(0, str(fetch.TESTS))
    import local_portal
    import portal_scenes

    def large(portal: local_portal.LocalPortal) -> None:
        scene = portal_scenes.Scene(portal, "phantom")
        run = scene.run(scene.dataset(DATASETS[0], 10310, "one large volume"), "TS_5_4")
        scene.tomogram(run, 10.012, shape, processing="denoised", processing_software="DenoisET", ctf_corrected=True)
        portal_scenes.phantom_picks(scene, run, shape, 10.012)

    portal_scenes.SCENES[LARGE] = large
    sys.argv[1:] = ["--scene", LARGE, *arguments]
    local_portal.main()


def ours(folder: Path, url: str, datasets: Sequence[int], *options: str) -> common.Spent:
    """The command, on all runs of some data sets."""
    ids = [word for number in datasets for word in ("--dataset-id", str(number))]
    command = [str(common.BIN / "popsicle"), "fetch", "-q", *ids, "--out", str(folder / "project"), *options]
    return common.timed(command, fetch.portal_variables(folder, url, patched=False))


def peer(folder: Path, url: str, datasets: Sequence[int]) -> common.Spent:
    """copick sync, of tomograms and of picks; the sum of both, the larger of them."""
    variables = fetch.portal_variables(folder, url, patched=True)
    took = [common.timed(command, variables) for command in fetch.peer(folder, None, datasets)]
    return common.Spent(
        *(sum(getattr(one, name) for one in took) for name in ("wall", "cpu")), max(t.memory for t in took)
    )


def table(found: dict[str, common.Spent], base: str) -> str:
    """base: whose wall time the ratio is for."""
    rows = [
        [title, common.seconds(took.wall), common.ratio(took.wall, found[base].wall), common.mib(took.memory)]
        for title, took in found.items()
    ]
    return common.table(["wall", "wall / ours", "memory"], rows)


def many(runs: str) -> list[str]:
    """Small volumes and picks."""
    with tempfile.TemporaryDirectory() as parent, fetch.portal("--scene", "phantom", "--runs", runs) as url:
        folder, found = Path(parent), {}
        for title, options in {
            "`fetch --dry-run`": ["--dry-run"],
            FETCH: [],
            "`fetch` once more, all is there": [],
        }.items():
            found[title] = ours(folder, url, DATASETS, *options)
            common.say(f"  {title}: {found[title].wall:.1f} s")
        files, size = fetch.held(folder / "project")
        found["`copick sync` of tomograms, then picks"] = took = peer(folder, url, DATASETS)
        common.say(f"  copick sync: {took.wall:.1f} s, {fetch.held(folder / 'target')[0]} files")
    count = sum(int(part) for part in runs.split(","))
    return [f"{count} runs of the phantom's kind, {files:,} files, {size:.0f} MiB:", table(found, FETCH)]


def one_large(shape: str) -> list[str]:
    """One volume in large chunks."""
    with (
        tempfile.TemporaryDirectory() as parent,
        fetch.portal("--serve", shape, script=Path(__file__).resolve()) as url,
    ):
        folder = Path(parent)
        found = {FETCH: ours(folder, url, DATASETS[:1])}
        files, size = fetch.held(folder / "project")
        found["`copick sync` of tomograms, then picks"] = peer(folder, url, DATASETS[:1])
    return [f"One run, a tomogram in chunks of 256^3, {files:,} files, {size:.0f} MiB:", table(found, FETCH)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="7,121,172", help="of the data sets 10440, 10445, 10446")
    parser.add_argument("--large", default="1024,640,640", metavar="Z,Y,X", help="voxels of the large volume")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked, others = parser.parse_known_args()
    if asked.serve:
        serve(tuple(int(part) for part in asked.serve.split(",")), others)
        return
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    parts = [*many(asked.runs), *one_large(asked.large)]
    packages = ("copick-tools", "copick", "cryoet-data-portal", "s3fs", "boto3", "zarr")
    common.write(*parts, common.provenance(packages, "answers without delay, one call each"))


if __name__ == "__main__":
    main()
