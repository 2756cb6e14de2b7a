"""Every shipped YAML is valid, fits together, and says what the paper says."""

import pytest

from copick_tools.data.uris import picks_uri, segmentation_uri, tomogram_uri
from copick_tools.engines import registry
from copick_tools.recipes.load import load_recipe, load_task, recipe_names, task_names


@pytest.mark.parametrize("name", task_names())
def test_tasks(name):
    task = load_task(name)
    assert task.name == name
    assert task.targets
    if task.kind == "localization":
        assert picks_uri(task.reference)
        assert all(task.distance(o.name) > 0 for o in task.targets)
    else:
        assert segmentation_uri(task.reference).kind == "multilabel"


@pytest.mark.parametrize("name", recipe_names())
def test_recipes(name):
    recipe, (task_name, _, stem) = load_recipe(name), name.partition("/")
    assert recipe.task == task_name
    model = registry.settings(registry.engine(recipe.family).Model, recipe)
    assert all(side % model.multiple == 0 for side in recipe.train.patch)
    task = load_task(recipe.task)
    uri = tomogram_uri(recipe.input)
    assert uri.tomo_type in task.tomo_types
    assert task.voxel_spacing is None or uri.matches(uri.tomo_type, task.voxel_spacing)
    assert recipe.train_split in task.splits
    assert recipe.validation_split is None or recipe.validation_split in task.splits
    if recipe.family == stem and not task.simulated:  # Table 10 of the paper
        assert (recipe.train.batch_size, recipe.optimizer.name, recipe.optimizer.lr) == (48, "adamw", 5e-4)
        assert (recipe.loss.name, recipe.optimizer.schedule, recipe.train.epochs) == ("focal", "cosine", 1000)


def test_the_paper_states_these():
    phantom = load_task("phantom")
    assert {name: (s.portal_dataset_ids, s.runs) for name, s in phantom.splits.items()} == {
        "train": ((10440,), 7),
        "val": ((10445,), 121),
        "test": ((10446,), 364),
    }
    assert [o.weight for o in phantom.targets] == [1, 0, 2, 1, 2, 1]
    assert [o.radius for o in phantom.targets] == [60, 65, 90, 150, 130, 135]
    assert (phantom.metric.beta, phantom.metric.official) == (4, "czii")
    motors = load_task("motorbench")
    assert (motors.metric.beta, motors.metric.official, motors.distance("flagellar-motor")) == (2, "byu", 1000)
    assert sum(len(runs) for runs in load_task("bacterial").portal_runs.values()) == 80
    assert sum(len(runs) for runs in load_task("yeast").portal_runs.values()) == 19


def test_simulated_objects_are_the_phantoms():
    real, simulated = load_task("phantom"), load_task("phantom-sim")
    keys = ("name", "label", "radius", "weight", "color")
    assert [[getattr(o, k) for k in keys] for o in real.targets] == [
        [getattr(o, k) for k in keys] for o in simulated.targets
    ]


def test_octopi_has_the_papers_size():
    from copick_tools.engines.describe import describe

    assert describe("octopi").parameters == 3_259_333
