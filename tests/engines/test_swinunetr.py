"""SwinUNETR: the paper's size, patches that it can't take, and a small one from training to picks."""

import families
import pytest
import torch
from pydantic import ValidationError

from copick_tools.engines import swinunetr
from copick_tools.engines.describe import describe
from copick_tools.engines.swinunetr import Model, build

TINY = "{family: swinunetr, preset: tiny}"


def test_parameters_are_the_papers():
    parameters, stored = families.sizes(swinunetr, Model())
    assert parameters == 62_186_953
    assert stored == 63_128_145  # the positions within a window are held, too
    assert families.sizes(swinunetr, Model(use_v2=True))[0] == 72_762_313


def test_models_show():
    card = describe("swinunetr")
    assert card.parameters == 62_186_953
    assert card.settings["use_checkpoint"] is True


def test_presets():
    tiny = Model(preset="tiny")
    assert tiny.multiple == Model(preset="paper").multiple == 32
    assert 3_500_000 < families.sizes(swinunetr, tiny)[0] < 4_000_000


@pytest.mark.parametrize("given", [{"num_heads": (3, 6, 12, 25)}, {"feature_size": 20}, {"depths": (2, 2, 2)}])
def test_settings_that_do_not_fit(given):
    with pytest.raises(ValidationError):
        Model(**given)


def test_it_learns_and_computing_twice_changes_nothing():
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        network = build(Model(preset="tiny", use_checkpoint=again, drop_rate=0.1), 2)
        torch.manual_seed(1)
        found.append(families.falling(network, (32, 32, 64), 2, 3e-3))
    plain, twice = found
    assert plain == pytest.approx(twice, rel=1e-5)
    assert twice[1] < twice[0]


@pytest.mark.slow
def test_trained_loaded_and_applied(project, recipe_path, tmp_path):
    recipe = families.write_recipe(recipe_path, TINY, (32, 32, 64), tmp_path)
    families.round_trip(project, recipe, tmp_path, "voxel_spacing=5")  # its tomograms are smaller than the patch


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ((32, 32, 48), ("multiple of 32", "[32, 32, 32] and [32, 32, 64]")),
        ((32, 32, 32), ("one voxel at the deepest level", "64 at least")),
    ],
)
def test_refusals(project, recipe_path, tmp_path, popsicle, patch, words):
    recipe = families.write_recipe(recipe_path, TINY, patch, tmp_path)
    failed = popsicle("train", recipe, "-c", project.config, "--dry-run", code=2)
    assert all(text in failed.stderr for text in words)
