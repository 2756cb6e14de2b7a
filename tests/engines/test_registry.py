"""What is missing, broken or too large is said before anything is trained."""

import json
import re
import subprocess
import sys

import pytest

from copick_tools.engines import registry
from copick_tools.engines.describe import describe
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.recipe import Recipe

WITHOUT = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nnunetv2", "dynamic_network_architectures"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from click.testing import CliRunner
from copick_tools.cli.main import popsicle
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(popsicle, words)
    assert isinstance(done.exception, SystemExit | None), done.exception
    print(json.dumps([done.exit_code, done.stdout, done.stderr]))
"""


def test_missing_extras_are_named(project):
    """In a process of its own, once for both, for it imports all families."""
    train = ["train", "phantom-sim/tiny", "-c", str(project.config), "-s", "model.family=nnunet"]
    given = [sys.executable, "-W", "ignore", "-c", WITHOUT, json.dumps([train, ["models", "ls"]])]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    (code, _, said), (listed, families, notes) = map(json.loads, done.stdout.splitlines())
    assert code == 1
    assert 'pip install "copick-tools[nnunet]"' in said
    assert listed == 0
    assert all(name in families for name in registry.FAMILIES)
    assert 'pip install "copick-tools[nnunet]"' in notes


def test_broken_torchvision_is_explained(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(PopsicleError, match="built for another torch") as caught:
        registry.engine("nnunet")
    assert "pip uninstall torchvision" in caught.value.hint


def test_other_failures_of_an_import_are_not_hidden(monkeypatch):
    def fail(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        registry.engine("nnunet")


def test_unknown_family():
    with pytest.raises(NotFoundError, match="no model family 'nnunett'") as caught:
        describe("nnunett")
    assert "nnunet" in caught.value.hint


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_presets_resolve_to_plain_settings(family):
    recipe = registry.resolved(load_recipe("phantom-sim/tiny", (f"model.family={family}",)))
    assert "preset" not in recipe.model
    assert recipe.model["family"] == family
    assert registry.resolved(recipe) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    paper = registry.resolved(recipe.model_copy(update={"model": {"family": family, "preset": "paper"}}))
    assert paper.model == registry.resolved(recipe.model_copy(update={"model": {"family": family}})).model
    assert paper.model != recipe.model


def test_no_such_preset(project, popsicle):
    failed = popsicle("train", "phantom-sim/tiny", "-c", project.config, "-s", "model.preset=tinny", code=1)
    assert "no preset 'tinny'" in failed.stderr
    assert "tiny" in failed.stderr


def test_patch_larger_than_the_tomograms(project, recipe_path, popsicle):
    failed = popsicle("train", recipe_path, "-c", project.config, "-s", "train.patch=[32,64,24]", code=2)
    assert "larger than the training tomograms: TS_1 has [24, 48, 48] voxels" in failed.stderr
    assert "train.patch=[24,48,24]" in failed.stderr


def test_patch_that_strides_do_not_divide(project, recipe_path, popsicle):
    failed = popsicle("train", recipe_path, "-c", project.config, "-s", "train.patch=[15,24,24]", code=2)
    assert "multiple of 2" in failed.stderr
    assert "[14, 24, 24] and [16, 24, 24]" in failed.stderr
    planned = popsicle("train", recipe_path, "-c", project.config, "-s", "train.patch=null", code=2)
    assert "plans no patch" in planned.stderr


def test_show_says_what_an_experiment_holds(checkpoint, popsicle):
    by_file = popsicle.json("models", "show", checkpoint)
    by_folder = popsicle.json("models", "show", checkpoint.parent)
    assert by_file == by_folder
    assert by_file["patch"] == [16, 24, 24]
    assert by_file["outputs"] == 3
    assert by_file["parameters"] == by_file["state_dict_elements"] > 1000


@pytest.mark.parametrize("family", [name for name, row in registry.FAMILIES.items() if row.learns])
def test_the_patch_that_is_named_is_one_that_fits(project, recipe_path, popsicle, family):
    """What a message says to try has to work; of SwinUNETR and such small tomograms nothing would."""
    kind = {"mask2former": "instances", "sam": "distances", "sam2": "distances"}.get(family)
    masks = ("-s", f"target.kind={kind}", "-s", "instances.views=stitched") if kind else ()
    common = ("-c", project.config, "-s", f"model={{family: {family}, preset: tiny}}", *masks)
    patch = "[1,64,64]" if kind or family in ("slices", "cellpose-sam") else "[64,64,64]"
    failed = popsicle("train", recipe_path, *common, "-s", f"train.patch={patch}", code=2).stderr
    assert "larger than the training tomograms: TS_1 has [24, 48, 48] voxels" in failed
    if family == "swinunetr":
        assert "too deep" in failed
        return
    named = re.search(r"-s (train.patch=\S+)", failed)[1]
    popsicle("train", recipe_path, *common, "-s", named, "--dry-run")


def test_turns_need_square_windows(project, recipe_path, popsicle):
    settings = ("-s", "inference.tta=turns", "-s", "train.patch=[16,16,24]")
    failed = popsicle("train", recipe_path, "-c", project.config, *settings, code=2)
    assert "square in the plane" in failed.stderr


def test_bandwidth_below_a_voxel(project, recipe_path, popsicle):
    settings = ("-s", "pick.method=mean-shift", "-s", "pick.bandwidth=5")
    assert "less than a voxel" in popsicle("train", recipe_path, "-c", project.config, *settings, code=2).stderr
