"""`popsicle fetch` against `copick sync` and the portal client's own downloads, from a local portal that takes its time.

The portal (tests/local_portal.py) runs in a process of its own and adds 30 ms to each answer, about what a bucket on the
other side of a continent does. One run: a tomogram of about 300 objects and six files of picks. Each side starts in a
fresh process with a fresh folder; whole commands are timed, and what of it is starting Python and importing.

    python benchmarks/fetch.py [--delay 0.03] [--runs 1] [--repeats 3] [-w 16]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from local_portal import environment  # noqa: E402

BIN = Path(sys.executable).parent
DATASET = 10440
OBJECTS = {  # portal object id -> name; copick must be told, else it draws labels by chance
    "GO:0070288": "apo-ferritin",
    "UniProtKB:P10537": "beta-amylase",
    "UniProtKB:P00722": "beta-galactosidase",
    "GO:0022626": "ribosome",
    "UniProtKB:P01267": "thyroglobulin",
    "GO:0170047": "virus-like-particle",
}


@dataclass
class Measured:
    """Seconds, CPU seconds, MiB of the largest process, and what the portal counted."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    requests: dict = field(default_factory=dict)
    files: int = 0
    size: float = 0.0


def timed(command: list[str], variables: dict[str, str], measured: Measured) -> None:
    """Run a command and add what it took."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        measured.wall += time.perf_counter() - start
        measured.cpu += usage.ru_utime + usage.ru_stime
        measured.peak = max(measured.peak, usage.ru_maxrss / 1024)
        if child.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()[-2000:]}")


def ours(folder: Path, workers: int | None) -> list[list[str]]:
    """popsicle fetch."""
    command = [str(BIN / "popsicle"), "fetch", "--dataset-id", str(DATASET), "--out", str(folder / "project")]
    return [[*command, *(["-w", str(workers)] if workers else [])]]


def peer(folder: Path, workers: int | None) -> list[list[str]]:
    """copick sync, from a configuration of the portal to one of a folder."""
    objects = [
        {"name": name, "is_particle": True, "label": label, "radius": 60, "go_id": number}
        for label, (number, name) in enumerate(OBJECTS.items(), 1)
    ]
    shared = {"name": "benchmark", "version": "1", "description": "", "pickable_objects": objects}
    for name, special in (
        ("source", {"config_type": "cryoet_data_portal", "dataset_ids": [DATASET]}),
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


SIDES = {"popsicle fetch": ours, "copick sync (two commands)": peer, "portal client, serial": client}
IMPORTS = {  # what each process imports before it can ask anything
    "popsicle fetch": ["copick_tools.cli.main", "copick_tools.workflows.fetch", "copick", "cryoet_data_portal"],
    "copick sync (two commands)": ["copick.cli.cli", "copick.ops.sync", "copick.impl.cryoet_data_portal"],
    "portal client, serial": ["cryoet_data_portal"],
}


def measure(side: str, url: str, workers: int | None) -> Measured:
    """One side once."""
    with tempfile.TemporaryDirectory() as parent:
        folder, measured = Path(parent), Measured()
        hooks = folder / "hooks"
        hooks.mkdir()
        line = f"import cryoet_data_portal._client as client\nclient.DEFAULT_URL = '{url}/graphql'\n"
        (hooks / "sitecustomize.py").write_text(line)
        variables = {**environment(url), "XDG_CACHE_HOME": str(folder / "cache")}
        if side != "popsicle fetch":  # knows a variable, the others go to the public portal if not patched
            variables["PYTHONPATH"] = str(hooks)
        commands = SIDES[side](folder, workers)
        ask(url, "DELETE")
        for command in commands:
            timed(command, variables, measured)
        measured.requests = json.loads(ask(url))
        roots = [folder / "project", folder / "target"]
        sizes = [path.stat().st_size for root in roots for path in root.rglob("*") if path.is_file()]
        measured.files, measured.size = len(sizes), sum(sizes) / 2**20
        return measured


def ask(url: str, method: str = "GET") -> bytes:
    """The portal's counts, or forget them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(urllib.request.Request(f"{url}/_log", method=method)).read()


def start_share(side: str, repeats: int) -> float:
    """Median seconds of starting Python and importing, of all processes of a side."""
    code = "\n".join(f"import {name}" for name in IMPORTS[side])
    processes = 2 if side.startswith("copick") else 1
    found = []
    for _ in range(repeats):
        measured = Measured()
        timed([sys.executable, "-c", code], {}, measured)
        found.append(processes * measured.wall)
    return statistics.median(found)


def show(side: str, found: list[Measured], start: float, base: list[Measured] | None) -> None:
    wall, cpu = (statistics.median(getattr(one, name) for one in found) for name in ("wall", "cpu"))
    last = found[-1]
    ratio = f"{wall / statistics.median(one.wall for one in base):6.2f}x" if base else " " * 7
    spread = f"{min(one.wall for one in found):.2f}-{max(one.wall for one in found):.2f}"
    print(f"{side:28}{wall:7.2f} s {ratio}  ({spread}; start and imports {start:.2f})  {cpu:6.2f} CPU-s", end="")
    print(f"  {max(one.peak for one in found):5.0f} MiB  {last.files} files, {last.size:.1f} MiB on disk")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(last.requests["requests"].items()))
    total, most = last.requests["total"], last.requests["max_in_flight"]
    print(
        f"{'':28}{total} requests, at most {most} at a time, {last.requests['sent'] / 2**20:.1f} MiB: {counts}",
        flush=True,
    )


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
    from importlib.metadata import version

    packages = ("copick-tools", "copick", "cryoet-data-portal", "s3fs", "boto3", "zarr")
    print(f"{', '.join(f'{name} {version(name)}' for name in packages)}, python {platform.python_version()}")
    workers = f"{asked.workers} workers" if asked.workers else "each side's own number of workers"
    print(
        f"{asked.runs} run(s), {asked.delay * 1000:g} ms per answer, {workers}; median of {asked.repeats}, cores: {os.cpu_count()}"
    )
    print("wall time of whole commands, / ours, (fastest-slowest), CPU time, largest process")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TESTS / "local_portal.py"), "--scene", "many_chunks", "--folder", folder]
        command += ["--runs", str(asked.runs), "--delay", str(asked.delay)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                compare(server.stdout.readline().strip(), asked.repeats, asked.workers)
            finally:
                server.terminate()


def compare(url: str, repeats: int, workers: int | None) -> None:
    """All sides in turn, `repeats` times, so that what else the machine does falls on all of them."""
    sides = dict(SIDES)
    there = subprocess.run([str(BIN / "popsicle"), "fetch", "--help"], capture_output=True).returncode == 0
    if not there:
        print("popsicle fetch              not there")
        del sides["popsicle fetch"]
    found: dict[str, list[Measured]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            found[side].append(measure(side, url, workers))
    for side in sides:
        show(side, found[side], start_share(side, repeats), found.get("popsicle fetch"))


if __name__ == "__main__":
    main()
