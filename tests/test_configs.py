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
        assert segmentation_uri(task.reference).kind == ("panoptic" if task.kind == "instances" else "multilabel")


NNUNET = (2, "sgd", 1e-2, "poly", "dice-ce", 1000)
TABLES = {  # 10 and 11 of the paper: batch, optimizer, rate, schedule, loss, epochs
    "nnunet": NNUNET,
    "nnunet-resenc": NNUNET,
    "mednext": NNUNET,
    "swinunetr": (16, "adamw", 1e-4, "cosine", "focal-tversky", 400),
    "octopi": (48, "adamw", 5e-4, "cosine", "focal", 1000),
}
BENCHMARK = ("phantom", "motorbench", "bacterial", "yeast")


def test_every_family_of_the_tables_has_its_recipes():
    assert {f"{task}/{family}" for task in BENCHMARK for family in TABLES} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_recipes(name):
    recipe, (task_name, _, stem) = load_recipe(name), name.partition("/")
    assert recipe.task == task_name
    registry.engine(recipe.family).check(registry.resolved(recipe))
    task = load_task(recipe.task)
    uri = tomogram_uri(recipe.input)
    assert uri.tomo_type in task.tomo_types
    assert task.voxel_spacing is None or uri.matches(uri.tomo_type, task.voxel_spacing)
    assert recipe.train_split in task.splits
    assert recipe.validation_split is None or recipe.validation_split in task.splits
    assert (recipe.train.patch is None) == (stem in ("nnunet", "nnunet-resenc", "mednext"))
    if stem in TABLES and not task.simulated:
        optimizer, train = recipe.optimizer, recipe.train
        stated = (optimizer.name, optimizer.lr, optimizer.schedule, recipe.loss.name)
        assert (train.batch_size, *stated, train.epochs) == TABLES[stem]


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


SIZES = {  # parameters, state_dict elements; the paper's table gives the latter for nnU-Net and ResEnc
    "nnunet": (30.79e6, 88.21e6),
    "nnunet-resenc": (102.35e6, 383.48e6),
    "mednext": (10.52e6, 10.52e6),
    "swinunetr": (62_186_953, 63_128_145),
    "octopi": (3_259_333, 3_259_333),
    "deepfinder": (903_159, 903_159),
    "deepetpicker": (2_429_995, 2_432_392),
    "slices": (1_092_691, 1_092_691),  # ours: Octopi's in 2D
    "cellpose-sam": (304_586_176, 304_586_176),  # a ViT-L for one channel
    "mask2former": (47_401_089, 47_401_096),  # Swin-T; one channel, six objects
    "sam": (94_355_447, 94_355_703),  # ViT-B, 93,735,728, and a decoder of ours; positions are counted twice
    "sam2": (39_582_217, 39_582_729),  # Hiera-T with its memory, 38,962,498, likewise
    "microsam": (None, None),  # micro-SAM builds it, and it needn't be here
}


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_families_have_the_papers_sizes(family):
    from copick_tools.engines.describe import describe

    found = describe(family)
    assert found.outputs == 7
    for count, stated in zip((found.parameters, found.state_dict_elements), SIZES[family]):
        assert count == stated if stated is None or isinstance(stated, int) else abs(count - stated) < 5e3
