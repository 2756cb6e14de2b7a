"""A family of the user's own needs a module path and nothing else."""

import logging
import sys

import pytest

from copick_tools.data.uris import picks_uri, tomogram_uri
from copick_tools.engines import registry
from copick_tools.errors import NotFoundError
from copick_tools.training.checkpoint import read, save
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


@pytest.fixture
def strange(checkpoint, tmp_path):
    """A checkpoint from somewhere, in a folder that holds the module that it names."""
    card, tensors = read(checkpoint)
    family = {"family": "strange.engine"}
    save(
        tmp_path / "best.ckpt",
        card.model_copy(update={"recipe": card.recipe.model_copy(update={"model": family})}),
        tensors,
    )
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/__init__.py").write_text("")
    (tmp_path / "strange/engine.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
        "Model = check = train = None\ndef load(path, device='auto'): return 'loaded'\n"
    )
    yield tmp_path / "best.ckpt"
    for name in [name for name in sys.modules if name.startswith("strange")]:
        del sys.modules[name]


@pytest.mark.parametrize("entry", ["", None])
def test_a_checkpoint_runs_no_code_of_the_current_folder(entry, strange, monkeypatch, popsicle):
    """Which ``python -m`` puts first on the path, as its name, and an interactive Python as ''."""
    monkeypatch.chdir(strange.parent)
    monkeypatch.setattr(sys, "path", [str(strange.parent) if entry is None else entry, *sys.path])
    before = list(sys.path)
    with pytest.raises(NotFoundError, match="no module strange") as caught:
        registry.load(strange)
    assert "PYTHONPATH" in caught.value.hint
    assert "no module strange" in popsicle("models", "show", "best.ckpt", code=1).stderr
    assert not (strange.parent / "strange/ran").exists()
    assert sys.path == before


def test_a_checkpoint_imports_what_the_user_vouches_for(strange, monkeypatch, caplog):
    monkeypatch.chdir(strange.parent)
    monkeypatch.setattr(sys, "path", [sys.path[0], str(strange.parent), *sys.path[1:]])  # as PYTHONPATH=. does
    with caplog.at_level(logging.INFO, logger="copick_tools"):
        assert registry.load(strange) == "loaded"
    assert "importing strange.engine" in caplog.text


@pytest.mark.parametrize("name", [".engine", "lab.", "..", "lab.x-y"])
def test_no_module_path(name):
    with pytest.raises(NotFoundError, match="no model family"):
        registry.engine(name)
