"""`popsicle fetch` against `copick sync` and the portal client's own downloads, from a local portal that takes its time.

The portal (tests/local_portal.py) runs in a process of its own and adds 30 ms to each answer, about what a bucket on the
other side of a continent does. One run: a tomogram of about 300 objects and six files of picks. Each side starts in a
fresh process with a fresh folder; whole commands are timed, and what of it is starting Python and importing.

    python benchmarks/fetch.py [--delay 0.03] [--runs 1] [--repeats 3] [-w 16]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import common
from common import BIN

TESTS = Path(__file__).parents[1] / "tests"
DATASET = 10440
OBJECTS = {  # portal object id -> name; copick must be told, else it draws labels by chance
    "GO:0070288": "apo-ferritin",
    "UniProtKB:P10537": "beta-amylase",
    "UniProtKB:P00722": "beta-galactosidase",
    "GO:0022626": "ribosome",
    "UniProtKB:P01267": "thyroglobulin",
    "GO:0170047": "virus-like-particle",
}


@dataclass(frozen=True)
class Measured:
    """wall: seconds. memory: MiB of the largest process. requests: what the portal counted. size: MiB on disk."""

    wall: float
    memory: float
    requests: dict
    files: int
    size: float


def ours(folder: Path, workers: int | None) -> list[list[str]]:
    """popsicle fetch."""
    command = [str(BIN / "popsicle"), "fetch", "--dataset-id", str(DATASET), "--out", str(folder / "project")]
    return [[*command, *(["-w", str(workers)] if workers else [])]]


def peer(folder: Path, workers: int | None, datasets: Sequence[int] = (DATASET,)) -> list[list[str]]:
    """copick sync, from a configuration of the portal to one of a folder."""
    objects = [
        {"name": name, "is_particle": True, "label": label, "radius": 60, "go_id": number}
        for label, (number, name) in enumerate(OBJECTS.items(), 1)
    ]
    shared = {"name": "benchmark", "version": "1", "description": "", "pickable_objects": objects}
    for name, special in (
        ("source", {"config_type": "cryoet_data_portal", "dataset_ids": list(datasets)}),
        ("target", {"config_type": "filesystem"}),
    ):
        place = {"overlay_root": f"local://{folder / name}", "overlay_fs_args": {"auto_mkdir": True}}
        (folder / f"{name}.json").write_text(json.dumps({**shared, **special, **place}))
    files = ["-c", str(folder / "source.json"), "--target-config", str(folder / "target.json")]
    files += ["--max-workers", str(workers)] if workers else []
    return [[str(BIN / "copick"), "sync", kind, *files] for kind in ("tomograms", "picks")]


def client(folder: Path, _: int | None) -> list[list[str]]:
    """The portal's client, one after the other."""
    return [[sys.executable, __file__, "--side", "client", "--out", str(folder / "project")]]


def download(folder: Path) -> None:
    """What a script with the portal's client does."""
    import cryoet_data_portal as cdp

    portal = cdp.Client()
    for tomogram in cdp.Tomogram.find(portal, [cdp.Tomogram.run.dataset_id == DATASET]):
        (folder / str(tomogram.run_id)).mkdir(parents=True, exist_ok=True)
        tomogram.download_omezarr(str(folder / str(tomogram.run_id)))
    shape = cdp.AnnotationFile.annotation_shape
    for file in cdp.AnnotationFile.find(portal, [shape.annotation.run.dataset_id == DATASET]):
        file.download(str(folder / str(file.annotation_shape.annotation.run_id)))


OURS = "`fetch`"
SIDES = {
    OURS: ours,
    "`copick sync` of tomograms, then picks": peer,
    "the portal client's own downloads, serial": client,
}
IMPORTS = {  # what each process imports before it can ask anything
    ours: ["copick_tools.cli.main", "copick_tools.workflows.fetch", "copick", "cryoet_data_portal"],
    peer: ["copick.cli.cli", "copick.ops.sync", "copick.impl.cryoet_data_portal"],
    client: ["cryoet_data_portal"],
}


def measure(side: str, url: str, workers: int | None) -> Measured:
    """One side once."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        variables = portal_variables(folder, url)
        commands = SIDES[side](folder, workers)
        ask(url, "DELETE")
        took = [common.timed(command, variables) for command in commands]
        wall, memory = sum(one.wall for one in took), max(one.memory for one in took)
        files, size = held(folder / ("target" if SIDES[side] is peer else "project"))
        common.say(f"  {side}: {wall:.2f} s, {files} files")
        return Measured(wall, memory, json.loads(ask(url)), files, size)


def held(folder: Path) -> tuple[int, float]:
    """Files and MiB below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) / 2**20


def portal_variables(folder: Path, url: str, patched: bool) -> dict[str, str]:
    """What makes a side go to a portal at ``url``: ours has a variable for it, the others' client is patched."""
    sys.path.insert(0, str(TESTS))
    from local_portal import environment

    variables = {**environment(url), "XDG_CACHE_HOME": str(folder / "cache")}
    if not patched:
        return variables
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    line = f"import cryoet_data_portal._client as client\nclient.DEFAULT_URL = '{url}/graphql'\n"
    (hooks / "sitecustomize.py").write_text(line)
    return {**variables, "PYTHONPATH": str(hooks)}


def ask(url: str, method: str = "GET") -> bytes:
    """The portal's counts, or forget them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(f"{url}/_log", method=method)) as answer:
        return answer.read()


@contextlib.contextmanager
def portal(*arguments: str, script: Path = TESTS / "local_portal.py") -> Iterator[str]:
    """A local portal in a process of its own; its address."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), "--folder", folder, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield server.stdout.readline().strip()  # type: ignore[union-attr]
            finally:
                server.terminate()


def start_share(side: str, repeats: int) -> float:
    """Seconds that starting Python and importing take, of all commands of a side."""
    code = "\n".join(f"import {name}" for name in IMPORTS[SIDES[side]])
    processes = 2 if SIDES[side] is peer else 1
    return processes * statistics.median(common.timed([sys.executable, "-c", code]).wall for _ in range(repeats))


def row(side: str, found: list[Measured], base: float, repeats: int) -> list[str]:
    """A row of the table; medians, the largest process."""
    wall, last = statistics.median(one.wall for one in found), found[-1].requests
    return [
        side,
        common.seconds(wall),
        common.ratio(wall, base),
        common.seconds(start_share(side, repeats)),
        f"{last['total']} ({last['max_in_flight']})",
        common.mib(max(one.memory for one in found)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.03, help="seconds that the portal adds to each answer")
    parser.add_argument("--runs", type=int, default=1, help="runs of 300 objects each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-w", "--workers", type=int, help="by default each side's own")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        download(Path(asked.out))
        return
    found: dict[str, list[Measured]] = {side: [] for side in SIDES}
    with portal("--scene", "many_chunks", "--runs", str(asked.runs), "--delay", str(asked.delay)) as url:
        for _ in range(asked.repeats):  # in turn, so that what else the machine does falls on all of them
            for side in SIDES:
                found[side].append(measure(side, url, asked.workers))
    base = statistics.median(one.wall for one in found[OURS])
    columns = ["wall", "wall / ours", "of it start and imports", "requests (at most at once)", "memory"]
    first = found[OURS][0]
    workers = f"{asked.workers} workers" if asked.workers else "each side's own number of workers"
    common.write(
        f"{asked.runs} run{'s' if asked.runs > 1 else ''}, {first.files:,} files ({first.size:.0f} MiB) as `fetch` keeps them:",
        common.table(columns, [row(side, part, base, asked.repeats) for side, part in found.items()]),
        common.provenance(
            ("copick-tools", "copick", "cryoet-data-portal", "s3fs", "boto3", "zarr"),
            f"{asked.delay * 1000:g} ms for each answer, {workers}, median of {asked.repeats}",
        ),
    )


if __name__ == "__main__":
    main()
