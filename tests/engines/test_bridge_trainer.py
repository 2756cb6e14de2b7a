"""nnU-Net's trainer as it stands before the first step: its loss, its optimizer, and the patches it would be given."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bridged import MODEL, at_start
from families import write_recipe

pytest.importorskip("nnunetv2")

from copick_tools.data.splits import write_splits
from copick_tools.data.uris import TomogramUri
from copick_tools.data.write import write_tomogram
from copick_tools.training import loop

LOSSES = ("dice-ce", "tversky", "focal", "focal-tversky", "tversky-focal")
IGNORE = 3  # of two objects
PLAIN = tuple(f"augment.{name}=0" for name in ("flip_z", "flip_yx", "quarter_turn", "intensity"))


@pytest.fixture(scope="module")
def recipe(recipe_path, tmp_path_factory):
    return write_recipe(recipe_path, MODEL, (16, 24, 24), tmp_path_factory.mktemp("nnunet"))


@pytest.fixture(scope="module")
def mednext(recipe_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mednext")
    return write_recipe(recipe_path, "{family: mednext, preset: tiny}", (16, 32, 32), folder)


def outputs(sides):
    """Logits and targets of each resolution, a quarter of the voxels ignored."""
    draw = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, *side, generator=draw).requires_grad_() for side in sides]
    return logits, [torch.randint(0, 4, (2, 1, *side), generator=draw, dtype=torch.int16) for side in sides]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_each_resolution(shared_project, mednext, tmp_path, name):
    def look(trainer):
        sides = [(16, 32, 32), (8, 16, 16), (4, 8, 8), (2, 4, 4), (1, 2, 2)]
        logits, targets = outputs(sides)
        assert trainer.loss.weight_factors == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])
        loss = trainer.loss(logits, targets)
        parts = [trainer.loss.loss(*pair).item() for pair in zip(logits, targets)]
        assert loss.item() == pytest.approx(np.dot(trainer.loss.weight_factors, parts))
        loss.backward()
        assert logits[-1].grad is None
        for found, target in zip(logits[:-1], targets):
            moved = found.grad.abs().sum(dim=1, keepdim=True) > 0
            assert torch.equal(moved, target != IGNORE)
        seen.append(name)

    seen = []
    at_start(shared_project, mednext, tmp_path, (f"loss.name={name}",), look)
    assert seen == [name]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_one_resolution(shared_project, recipe, tmp_path, name):
    def look(trainer):
        (logits,), (target,) = outputs([(4, 8, 8)])
        trainer.loss(logits, target).backward()
        assert torch.equal(logits.grad.abs().sum(dim=1, keepdim=True) > 0, target != IGNORE)
        seen.append(name)

    seen = []
    at_start(shared_project, recipe, tmp_path, (f"loss.name={name}", "model.deep_supervision=false"), look)
    assert seen == [name]


def test_optimizer_of_the_recipe(shared_project, recipe, tmp_path):
    def look(trainer):
        (group,) = trainer.optimizer.param_groups
        assert type(trainer.optimizer) is torch.optim.SGD
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.8, 0.003, True)
        trainer.on_train_start()
        for _ in range(4):
            trainer.train_step(next(trainer.dataloader_train))
            rates.append((trainer.lr, group["lr"]))
        settings = trainer.job.recipe.optimizer
        assert rates == [(loop.learning_rate(step, 20, settings),) * 2 for step in range(4)]

    rates = []
    settings = ("name=sgd", "lr=0.01", "momentum=0.8", "weight_decay=0.003", "schedule=poly", "warmup=2")
    at_start(shared_project, recipe, tmp_path, tuple(f"optimizer.{setting}" for setting in settings), look)
    assert [rate for rate, _ in rates[:3]] == pytest.approx([0.005, 0.01, 0.01])
    assert 0 < rates[3][0] < 0.01


@pytest.mark.parametrize("clip", [0.01, 0.02])
def test_gradients_are_clipped(shared_project, recipe, tmp_path, clip):
    def look(trainer):
        trainer.on_train_start()
        before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
        trainer.train_step(next(trainer.dataloader_train))
        moved = [new.detach() - old for new, old in zip(trainer.network.parameters(), before)]
        steps.append(float(torch.cat([part.flatten() for part in moved]).norm()))

    steps = []
    settings = ("name=sgd", "lr=1.0", "momentum=0", "weight_decay=0", "schedule=constant", f"clip={clip}")
    at_start(shared_project, recipe, tmp_path, tuple(f"optimizer.{setting}" for setting in settings), look)
    assert steps == pytest.approx([clip], rel=1e-3)


@pytest.mark.parametrize(("family", "supervised"), [("mednext", True), ("nnunet", False)])
def test_only_what_learns_awaits_a_gradient(shared_project, recipe, mednext, tmp_path, monkeypatch, family, supervised):
    """Several processes would wait for that of a head whose loss weighs nothing."""

    def look(trainer):
        monkeypatch.setattr(loop, "descend", lambda *_: None)
        trainer.on_train_start()
        trainer.train_step(next(trainer.dataloader_train))
        for weights in trainer.network.parameters():
            assert (weights.grad is not None) == weights.requires_grad
        frozen.extend(weights for weights in trainer.network.parameters() if not weights.requires_grad)

    frozen = []
    settings = (f"model.deep_supervision={str(supervised).lower()}", "train.batch_size=1")
    at_start(shared_project, mednext if family == "mednext" else recipe, tmp_path, settings, look)
    assert len(frozen) == 2  # of one head: weights and bias


def test_rule_is_nnunets():
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    from copick_tools.engines.bridge.samples import Samples

    for batch_size in range(1, 12):
        for background in (0.0, 0.1, 0.33, 0.5, 0.67, 0.9, 1.0):
            train = SimpleNamespace(batch_size=batch_size, background=background)
            theirs = SimpleNamespace(batch_size=batch_size, oversample_foreground_percent=1 - background)
            for sample in range(batch_size):
                expected = nnUNetDataLoader._oversample_last_XX_percent(theirs, sample)
                assert Samples(None, train, fixed=True).on_object(sample) == expected


@pytest.mark.parametrize(("augmentation", "share"), [("nnunet", (0.0, 1.0)), ("recipe", (0.33, 0.33))])
def test_share_of_patches_on_objects(shared_project, recipe, tmp_path, augmentation, share):
    """The paper's: nnU-Net's default forces one of two; by chance it would be a third."""

    def look(trainer):
        samples = trainer.samples()
        drawn = []
        samples.loader.generate_train_batch = lambda: (
            drawn.append(samples.loader.oversample_foreground_percent) or {"data": [0], "target": [[0]]}
        )
        for number in range(600):
            samples[number]
        found = np.array(drawn).reshape(300, 2).mean(axis=0)
        assert found == pytest.approx(share, abs=0 if augmentation == "nnunet" else 0.08)
        seen.append(augmentation)

    seen = []
    settings = (f"model.augmentation={augmentation}", "train.background=0.67", "train.epochs=60")
    at_start(shared_project, recipe, tmp_path, settings, look)
    assert seen == [augmentation]


def test_patches_lie_where_they_should(shared_project, recipe, tmp_path):
    def look(trainer):
        samples = trainer.samples()
        samples.loader.transforms = None
        held = np.array([bool((samples[number]["target"] > 0).any()) for number in range(40)]).reshape(20, 2)
        assert held[:, 1].all()
        assert not held[:, 0].all()
        seen.append(held)

    seen = []
    settings = ("model.augmentation=nnunet", "train.background=0.5", "train.patch=[8,8,8]")
    at_start(shared_project, recipe, tmp_path, settings, look)
    assert seen


@pytest.mark.parametrize(
    ("augmentation", "workers"), [pytest.param("nnunet", 1, marks=pytest.mark.slow), ("recipe", 2)]
)
def test_a_sample_is_a_function_of_its_number(shared_project, recipe, tmp_path, augmentation, workers):
    """In this process or another, in any order; nnU-Net's own blur would choose its way by the clock."""

    def look(trainer):
        trainer.state.step = 2
        samples, (remaining, _) = trainer.samples(), trainer.get_dataloaders()
        np.random.seed(1)
        for step in (5, 2, 4, 3):
            pair = [samples[2 * step], samples[2 * step + 1]]
            expected[step] = [torch.stack([one["data"] for one in pair])]
            expected[step] += [torch.stack(level) for level in zip(*(one["target"] for one in pair))]
        with closing(remaining):
            for step in (2, 3, 4, 5):
                batch = next(remaining)
                assert all(map(torch.equal, [batch["data"], *batch["target"]], expected[step]))
                assert len(expected[step]) == 1 + len(batch["target"])
        assert not torch.equal(expected[2][0], expected[3][0])

    expected = {}
    settings = (f"model.augmentation={augmentation}", f"train.workers={workers}", "train.threads=2")
    at_start(shared_project, recipe, tmp_path, settings, look)
    assert expected


def test_blur_asks_no_clock(shared_project, recipe, tmp_path):
    """As nnU-Net makes it, it times two ways, whose bits differ, and takes the faster."""

    def look(trainer):
        (theirs,) = trainer.samples().loader.transforms.transforms
        timed.extend(
            part.transform.benchmark
            for part in theirs.transforms
            if hasattr(part, "transform") and hasattr(part.transform, "benchmark")
        )

    timed = []
    at_start(shared_project, recipe, tmp_path, ("model.augmentation=nnunet",), look)
    assert timed == [False]


def test_outside_of_a_tomogram_is_ignored(project, recipe, tmp_path):
    """One of the two runs is thinner than a patch; zeros in it count as background."""
    voxels = np.random.default_rng(0).normal(size=(12, 48, 48)).astype(np.float32)
    voxels[:, :30, :10] = 0
    write_tomogram(project, "TS_3", TomogramUri("wbp", 10.0), voxels)
    write_splits(project, {"train": ["TS_1", "TS_3"], "val": ["TS_2"]})

    def look(trainer):
        samples = trainer.samples()
        cases = samples.loader._data
        for name in cases.identifiers:
            assert np.asarray(cases.load_case(name)[1][:]).min() == 0
        for number in range(12):
            sample = samples[number]
            ignored = sample["target"][0] == IGNORE
            thin = ignored.any(dim=(0, 2, 3))
            assert torch.equal(ignored, thin[None, :, None, None].expand_as(ignored))
            assert not sample["data"][ignored].any()
            outside.append(int(thin.sum()))

    outside = []
    at_start(project, recipe, tmp_path / "out", (*PLAIN, "train.background=1.0"), look)
    assert set(outside) == {0, 4}
