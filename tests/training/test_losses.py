"""Losses: perfect is best, ignored voxels don't count, alpha weighs false positives."""

import pytest
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss

from copick_tools.recipes.recipe import Loss, Optimizer
from copick_tools.training.loop import learning_rate
from copick_tools.training.losses import as_distribution, make_loss
from copick_tools.training.targets import IGNORED

NAMES = ("dice-ce", "tversky", "focal", "focal-tversky", "tversky-focal")


def logits_for(labels, confidence=8.0):
    return confidence * torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 1).float()


@pytest.fixture
def labels():
    torch.manual_seed(0)
    return torch.randint(0, 3, (2, 4, 5, 6)).to(torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_perfect_is_best_and_gradients_are_finite(name, labels):
    loss = make_loss(Loss(name=name))
    good = logits_for(labels).requires_grad_()
    value = loss(good, labels)
    value.backward()
    assert torch.isfinite(good.grad).all()
    assert value < 0.05
    assert loss(logits_for((labels + 1) % 3), labels) > 5 * value


@pytest.mark.parametrize("name", NAMES)
def test_ignored_voxels_do_not_count(name, labels):
    loss = make_loss(Loss(name=name))
    known = labels.clone()
    known[:, 2:] = IGNORED
    wrong = logits_for((labels + 1) % 3)
    mixed = torch.cat([logits_for(labels)[:, :, :2], wrong[:, :, 2:]], dim=2)
    assert loss(mixed, known) == pytest.approx(float(loss(logits_for(labels), known)), abs=1e-6)
    everything = torch.full_like(labels, IGNORED)
    assert torch.isfinite(loss(wrong, everything))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_is_absent_gives_a_finite_loss(name):
    nothing = torch.zeros((1, 4, 4, 4), dtype=torch.uint8)
    loss = make_loss(Loss(name=name))
    predicted = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    loss(predicted, nothing).backward()
    assert torch.isfinite(predicted.grad).all()


def by_monai(name, logits, target):
    """The losses of whole modules of MONAI's; those of voxels are averaged over the known ones."""
    wanted, mask = as_distribution(target, logits.shape[1])
    found, voxels = logits.softmax(dim=1) * mask, mask.sum()
    index = TverskyLoss(alpha=0.2, beta=0.8, batch=True, reduction="none")(found, wanted * mask)
    focal = FocalLoss(use_softmax=True, gamma=1.5, reduction="none")(logits, wanted)
    focal = (focal * mask).sum() / (voxels * logits.shape[1])
    if name == "dice-ce":
        dice = DiceLoss(include_background=False, batch=True, squared_pred=True)(found, wanted * mask)
        entropy = torch.nn.CrossEntropyLoss(reduction="none")(logits, wanted)
        return dice + (entropy[:, None] * mask).sum() / voxels
    return {
        "tversky": index.mean(),
        "focal": focal,
        "focal-tversky": index.pow(1 / 1.5).mean(),
        "tversky-focal": 0.7 * index.mean() + (1 - 0.7) * focal,
    }[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("soft", [False, True])
def test_losses_are_monais(name, soft):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 4, 5, 6, 7), generator=draw)
    target = torch.randint(0, 4, (2, 5, 6, 7), generator=draw).to(torch.uint8)
    target[1, 2:] = IGNORED
    if soft:
        heat = torch.rand((2, 3, 5, 6, 7), generator=draw)
        target = torch.where((target == IGNORED)[:, None], -1.0, heat)
    settings = Loss(name=name, alpha=0.2, gamma=1.5, weight=0.7)
    values, gradients = [], []
    for loss in (make_loss(settings), lambda *pair: by_monai(name, *pair)):
        given = logits.clone().requires_grad_()
        values.append(loss(given, target))
        values[-1].backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


def test_alpha_weighs_false_positives():
    truth = torch.zeros((1, 1, 1, 10), dtype=torch.uint8)
    truth[..., :4] = 1
    guess = torch.zeros_like(truth)
    guess[..., :8] = 1  # four false positives of the object
    generous, severe = (make_loss(Loss(name="tversky", alpha=alpha)) for alpha in (0.1, 0.9))
    logits = logits_for(guess)[:, :2]
    assert severe(logits, truth) != generous(logits, truth)
    object_only = [float(1 - (4 / (4 + alpha * 4))) for alpha in (0.1, 0.9)]
    background = [float(1 - (2 / (2 + (1 - alpha) * 4))) for alpha in (0.1, 0.9)]
    for loss, o, b in zip((generous, severe), object_only, background):
        assert float(loss(logits * 5, truth)) == pytest.approx((o + b) / 2, abs=1e-3)


def test_heatmaps_become_distributions():
    heat = torch.tensor([[0.25, 0.9, -1.0], [0.25, 0.6, -1.0]]).reshape(1, 2, 1, 1, 3)
    distribution, known = as_distribution(heat, 3)
    assert known.ravel().tolist() == [1, 1, 0]
    torch.testing.assert_close(distribution.sum(1)[..., :2], torch.ones(1, 1, 1, 2))
    torch.testing.assert_close(distribution[0, :, 0, 0, 0], torch.tensor([0.5, 0.25, 0.25]))
    torch.testing.assert_close(distribution[0, 1:, 0, 0, 1], torch.tensor([0.6, 0.4]))
    for name in NAMES:
        assert torch.isfinite(make_loss(Loss(name=name))(torch.randn(1, 3, 1, 1, 3), heat))


def test_learning_rate():
    cosine = Optimizer(lr=1.0, schedule="cosine", warmup=10)
    assert learning_rate(0, 110, cosine) == pytest.approx(0.1)
    assert learning_rate(10, 110, cosine) == 1
    assert learning_rate(60, 110, cosine) == pytest.approx(0.5)
    assert learning_rate(50, 100, Optimizer(lr=1.0, schedule="poly")) == pytest.approx(0.5**0.9)
    assert learning_rate(99, 100, Optimizer(lr=1.0, schedule="constant")) == 1


def test_balanced_entropy_counts_each_class_the_same():
    target = torch.zeros((1, 2, 8, 8), dtype=torch.uint8)
    target[0, 0, 0, :2] = 1  # two voxels of 128, and none of class 2
    target[0, 1, 7, 7] = IGNORED
    logits = torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    of_voxels = torch.nn.functional.cross_entropy(logits, target.long().clamp(max=2), reduction="none")
    wanted = torch.stack([of_voxels[target == number].mean() for number in (0, 1)]).mean()
    plain, balanced = (make_loss(Loss(balanced=which))(logits, target) for which in (False, True))
    entropy = of_voxels[target != IGNORED].mean()
    torch.testing.assert_close(balanced - plain, wanted - entropy)
    with pytest.raises(ValueError, match="focal has none"):
        Loss(name="focal", balanced=True)
