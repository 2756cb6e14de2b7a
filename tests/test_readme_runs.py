"""The README's walk, run as it stands there: simulate, train, localize, evaluate, report, fetch, segment, …"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from local_portal import LocalPortal
from portal_scenes import phantom

ROOT = Path(__file__).parents[1]
SHORTER = {"train phantom-sim/unet-small": 4, "train organelle-sim/ais": 2}  # the whole trainings take many minutes
PICKS = ROOT / "tests/data/TS_5_4_beta-amylase.json"


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    """Where `fetch` finds a portal, a small local one."""
    with LocalPortal(tmp_path_factory.mktemp("served")) as server:
        phantom(server)
        yield server.environment()


@pytest.fixture(scope="module")
def walk(tmp_path_factory, portal):
    """The folder after the README's commands, and how to run more of them there."""
    folder = tmp_path_factory.mktemp("readme")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(("popsicle", "export"))]
    own_files = ("popsicle localize best.ckpt", "popsicle import")
    long = ("popsicle bench", "popsicle search")  # an hour; their own tests run them
    skipped = (*own_files, *long)
    script = "\n".join(line for line in lines if not line.startswith(skipped))
    for command, epochs in SHORTER.items():
        assert command in script
        script = script.replace(command, f"{command} -s train.epochs={epochs} -s train.validate_every={epochs}")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **portal}
    environment.pop("OMP_NUM_THREADS", None)

    def run(commands):
        return subprocess.run(["bash", "-euc", commands], cwd=folder, env=environment, capture_output=True, text=True)

    done = run(script)
    assert done.returncode == 0, done.stderr
    return folder, run


@pytest.mark.slow
def test_held_out_runs_score_well(walk):
    folder, _ = walk
    scores = json.loads((folder / "experiment/scores.json").read_text())
    assert scores["rule"] == "kaggle"
    assert scores["run_names"] == ["TS_007", "TS_008"]
    assert scores["score"] > 0.3  # a fifth of the training, all of which is the demo's; random picks score 0.04
    assert (folder / "report.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("names", [("octopi",), ("deepfinder",), ("octopi", "deepfinder")])
def test_small_networks_find_particles_too(walk, names):
    """Random picks score 0.04 at most."""
    _, run = walk
    user = "-".join(names)
    done = run(
        f"popsicle localize {' '.join(f'{name}/best.ckpt' for name in names)} -c sim -i wbp@10.012 -o :{user}/2 --split test -q\n"
        f"popsicle evaluate -c sim -i '*:{user}/2' --task phantom-sim --split test --json -q"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["score"] > 0.15


@pytest.mark.slow
def test_what_was_fetched_can_be_trained_on(walk):
    folder, run = walk
    assert (folder / "phantom/Croissant/metadata.json").exists()
    done = run(
        "popsicle fetch phantom --out portal -q && popsicle train phantom/octopi -c portal --out of-portal"
        " -s train.patch=[24,48,48] -s train.epochs=1 -s train.steps_per_epoch=2 -s train.batch_size=1"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "of-portal/best.ckpt").exists()


@pytest.mark.slow
def test_positions_of_experts_go_the_whole_way(walk):
    folder, run = walk
    commands = f"""
    popsicle simulate phantom --out real --positions {PICKS} --shape 96,320,320 --voxel-spacing 20 -q
    popsicle localize experiment/best.ckpt -c real -i wbp -o :unet-small/1 --overlap 0.1
    popsicle evaluate -c real -i "*:unet-small/1" --task phantom-sim --json > real.json
    """
    done = run(commands)
    assert done.returncode == 0, done.stderr
    assert "resampled from 20 to the model's 10.012 A" in done.stderr
    found = json.loads((folder / "real.json").read_text())["objects"]["beta-amylase"]
    assert found["tp"] + found["fn"] == 10


@pytest.mark.slow
def test_results_alone_on_stdout(walk):
    _, run = walk
    done = run(
        "popsicle --version; popsicle localize --help | head -1; popsicle models ls --json | python -m json.tool"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("popsicle, version")
    assert "Usage: popsicle localize" in done.stdout
