"""A family of the user's own needs a module path and nothing else."""

import sys

from copick_tools.data.uris import picks_uri, tomogram_uri
from copick_tools.workflows.localize import Localizing, localize
from copick_tools.workflows.train import plan_training, train

MODULE = """
import torch
from pydantic import BaseModel
from copick_tools.engines.registry import settings
from copick_tools.training import harness


class Model(BaseModel, extra="forbid"):
    width: int = 4


def check(recipe):
    settings(Model, recipe)


def network(model, outputs):
    first = torch.nn.Conv3d(1, model.width, 3, padding=1)
    return torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Conv3d(model.width, outputs, 1))


def train(recipe, project, out_dir, progress, device="auto"):
    model = settings(Model, recipe)
    return harness.train(lambda outputs: network(model, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint, device="auto"):
    return harness.load(lambda recipe, outputs: network(settings(Model, recipe), outputs), checkpoint, device)
"""


def test_own_family(project, recipe_path, tmp_path, monkeypatch, popsicle):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/__init__.py").write_text("")
    (tmp_path / "lab/tiny.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = recipe_path.read_text().replace(
        "{family: octopi, channels: [8, 16], strides: [2], num_res_units: 1, dropout: 0.1}",
        "{family: lab.tiny, width: 3}",
    )
    (tmp_path / "own.yaml").write_text(recipe)
    plan = plan_training(project, str(tmp_path / "own.yaml"), ("train.epochs=1",), tmp_path / "experiment")
    best, _ = train(project, plan, lambda done, total: None, device="cpu")
    output = picks_uri(":own/1", output=True)
    results = list(localize(Localizing(best, project, tomogram_uri("wbp"), output), ["TS_3"], ("cpu",)))
    assert [result.status for result in results] == ["done"]
    assert popsicle.json("models", "show", "lab.tiny")["parameters"] is None
    assert (
        "width" in popsicle("train", tmp_path / "own.yaml", "-c", project.config, "-s", "model.widht=3", code=1).stderr
    )
    for name in [name for name in sys.modules if name.startswith("lab")]:
        del sys.modules[name]
