"""Running out of memory says what to try, and leaves the last checkpoint as it was."""

import pytest
import torch

from copick_tools.engines import octopi, registry
from copick_tools.errors import PopsicleError
from copick_tools.recipes.load import load_recipe
from copick_tools.training import checkpoint as files
from copick_tools.training.memory import explained, smaller
from copick_tools.workflows.train import plan_training, train


class Greedy(torch.nn.Module):
    """Runs out of memory at the third step."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.network(x)


def test_last_checkpoint_stays(project, recipe_path, tmp_path, monkeypatch):
    build = octopi.build
    monkeypatch.setattr(octopi, "build", lambda model, outputs: Greedy(build(model, outputs)))
    plan = plan_training(project, str(recipe_path), ("train.checkpoint_every=1",), tmp_path / "e")
    with pytest.raises(PopsicleError, match="out of memory") as caught:
        train(project, plan, lambda done, total: None, device="cpu")
    assert "train.batch_size=1" in caught.value.hint
    assert "last.ckpt is as it was" in caught.value.hint
    assert files.read(tmp_path / "e/last.ckpt")[1]["step"] == 2
    assert not (tmp_path / "e/finished").exists()


def test_what_to_try():
    recipe = load_recipe("phantom/octopi", ("train.batch_size=3",))
    assert smaller(recipe, (96, 96, 96), True) == [
        "-s train.batch_size=1",
        "-s train.patch=[64,64,64]",
        "-s train.cache=false",
    ]
    recipe = load_recipe("phantom/octopi", ("train.batch_size=1", "train.cache=false"))
    assert smaller(recipe, (32, 128, 16), False) == ["-s train.patch=[32,64,16]"]
    assert smaller(recipe, (64, 64, 64), False) == ["a smaller model"]  # not one that SwinUNETR can't take
    assert smaller(recipe, (32, 32, 32), False) == ["a smaller model"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_memory_of_the_host(error, tmp_path):
    with pytest.raises(PopsicleError, match="out of memory"), explained(load_recipe("phantom/octopi"), None, tmp_path):
        raise error


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match="size mismatch"), explained(load_recipe("phantom/octopi"), None, tmp_path):
        raise RuntimeError("size mismatch")


OF_SLICES = ("slices", "cellpose-sam", "sam", "sam2", "mask2former")


@pytest.mark.parametrize("family", [name for name, row in registry.FAMILIES.items() if row.learns])
@pytest.mark.parametrize("patch", [(64, 64, 64), (96, 96, 96), (64, 128, 128)])
def test_every_family_takes_the_smaller_patch(family, patch):
    name, settings = "phantom-sim/tiny", (f"model.family={family}",)
    if family in OF_SLICES:
        name, settings, patch = f"organelle-sim/{family}", (), (1, *patch[1:])
    recipe = load_recipe(name, (*settings, f"train.patch={list(patch)}"))
    for setting in smaller(recipe, patch, False):
        if setting.startswith("-s train.patch"):
            changed = load_recipe(name, (*settings, setting.removeprefix("-s ")))
            registry.engine(family).check(registry.resolved(changed))
