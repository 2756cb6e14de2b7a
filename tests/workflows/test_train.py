"""One training at a time in a folder; what failed to start is in nobody's way; what differs is named."""

import json

import pytest
import yaml

from copick_tools.data.locking import locked
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.recipes.load import read_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import checkpoint as files
from copick_tools.workflows.train import is_finished, plan_training, train


def quiet(done, total):
    """No progress."""


def test_two_in_one_folder(project, recipe_path, tmp_path):
    plan = plan_training(project, str(recipe_path), (), tmp_path / "e")
    with locked(tmp_path / "e/.lock"):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(PopsicleError, match="another process trains"):
                train(project, plan, quiet, device="cpu", **options)
    train(project, plan, quiet, device="cpu")
    assert not (tmp_path / "e/.lock").exists()


def test_nothing_was_trained_so_another_recipe_may_be(project, recipe_path, popsicle, tmp_path, monkeypatch):
    from copick_tools.engines import octopi

    def fail(*_, **__):
        raise PopsicleError("no start")

    with monkeypatch.context() as patch:
        patch.setattr(octopi, "train", fail)
        popsicle("train", recipe_path, "-c", project.config, "--out", tmp_path / "e", code=1)
    changed = ("-s", "train.epochs=1", "-s", "optimizer.lr=0.02")
    popsicle("train", recipe_path, "-c", project.config, "--out", tmp_path / "e", *changed)
    failed = popsicle("train", recipe_path, "-c", project.config, "--out", tmp_path / "e", code=1)
    assert "another recipe (optimizer.lr, train.epochs)" in failed.stderr


def test_an_experiment_of_a_version_without_a_setting_is_the_same(project, recipe_path, tmp_path):
    plan = plan_training(project, str(recipe_path), (), tmp_path / "e")
    train(project, plan, quiet, device="cpu")
    path = tmp_path / "e/recipe.yaml"
    older = read_yaml(path)
    del older["instances"], older["target"]["weight"]
    path.write_text(yaml.safe_dump(older))
    assert is_finished(plan)
    assert train(project, plan, quiet, device="cpu")[1] is False  # nothing is trained
    path.write_text(yaml.safe_dump(older | {"instances": {"stitch": 0.3}}))
    assert not is_finished(plan)
    path.write_text("task: 3")
    assert not is_finished(plan)


def test_a_checkpoint_of_a_version_without_instances_loads(checkpoint, tmp_path):
    card, tensors = files.read(checkpoint)
    older = card.model_dump(mode="json")
    del older["recipe"]["instances"], older["recipe"]["target"]["weight"]
    assert files.Card.model_validate(older) == card


def test_dry_run_says_all_that_can_be_known(project, recipe_path, popsicle, tmp_path):
    shown = popsicle("train", recipe_path, "-c", project.config, "--dry-run", "--json", "--out", tmp_path / "e")
    assert Recipe.model_validate(json.loads(shown.stdout)).model["channels"] == [8, 16]
    popsicle("train", recipe_path, "-c", project.config, "--dry-run", "--device", "foo", code=2)
    assert not (tmp_path / "e").exists()


def test_damaged_bytes_are_noticed(checkpoint, tmp_path):
    content = bytearray(checkpoint.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(b ^ 255 for b in content[middle : middle + 64])
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(FormatError, match="no popsicle checkpoint"):
        files.read(tmp_path / "best.ckpt")


@pytest.mark.parametrize("change", [{"plan": {"patch": [0, 0, 0]}}, {"plan": {}}, {"channels": ("ribosome",)}])
def test_cards_that_can_not_be(checkpoint, tmp_path, change):
    card, tensors = files.read(checkpoint)
    files.save(tmp_path / "odd.ckpt", card.model_copy(update=change), tensors)
    with pytest.raises(FormatError, match="odd.ckpt"):
        files.read_card(tmp_path / "odd.ckpt")


def test_windows_that_the_network_can_not_take(project, checkpoint, popsicle, tmp_path):
    card, tensors = files.read(checkpoint)
    recipe = card.recipe.model_copy(update={"train": card.recipe.train.model_copy(update={"patch": (15, 23, 23)})})
    files.save(tmp_path / "odd.ckpt", card.model_copy(update={"recipe": recipe}), tensors)
    failed = popsicle("localize", tmp_path / "odd.ckpt", "-c", project.config, "-i", "wbp", "-o", ":x/1", code=1)
    assert "can't take windows of 15x23x23 voxels" in failed.stderr
