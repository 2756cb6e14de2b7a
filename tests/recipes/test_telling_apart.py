"""What a recipe says of instances: targets that tell them apart, and how maps become instances."""

import pytest

from copick_tools.errors import FormatError
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.recipe import INSTANCED, Instances, Target
from copick_tools.volumes.decoding import Decoding


@pytest.mark.parametrize("kind", ["spheres", "gaussian", "segmentation", *INSTANCED])
def test_which_targets_tell_instances_apart(recipe_path, kind):
    assert load_recipe(recipe_path, (f"target.kind={kind}",)).instanced == (kind in INSTANCED)


def test_patches_of_slices(recipe_path):
    assert not load_recipe(recipe_path).planar
    assert load_recipe(recipe_path, ("train.patch=[1,8,8]",)).planar
    assert not load_recipe(recipe_path, ("train.patch=null",)).planar


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("instances.min_volume=-1", "min_volume"),
        ("instances.max_size_fraction=0", "max_size_fraction"),
        ("instances.flow_error=0", "flow_error"),
        ("instances.views=both", "views"),
        ("instances.smoothing=50", "smoothing"),
        ("instances.boundry=0.5", "boundary"),
        ("target.kind=flow", "kind"),
        ("target.weight=0", "weight"),
    ],
)
def test_settings_that_will_not_do(recipe_path, setting, words):
    with pytest.raises(FormatError) as failed:
        load_recipe(recipe_path, (setting,))
    assert words in f"{failed.value.message} {failed.value.hint}"


def test_volumes_in_order(recipe_path):
    with pytest.raises(FormatError, match="max_volume 3 is below min_volume 4"):
        load_recipe(recipe_path, ("instances.min_volume=4", "instances.max_volume=3"))
    assert load_recipe(recipe_path, ("instances.min_volume=4", "instances.max_volume=4")).instances.max_volume == 4


def test_defaults_are_those_of_the_decoder():
    """One default, one place: these two have to agree."""
    chosen, how = Instances(), Decoding()
    for name in ("foreground", "center", "boundary", "smoothing", "flow_error", "join"):
        assert getattr(chosen, name) == getattr(how, name)
    assert (chosen.sink_distance, chosen.max_size_fraction) == (how.distance, how.most)
    assert Target().weight == 1
