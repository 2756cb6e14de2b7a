"""The loss of geometry is that of Cellpose or micro-SAM where it is known, beside that of the classes as it was."""

import pytest
import torch

from copick_tools.inference.geometry import Geometry
from copick_tools.recipes.recipe import IGNORED, Loss, Target
from copick_tools.training.losses import FACTORS, make_criterion, make_loss

CHANNELS = {"distances": 2, "flows": 3, "boundary": 1}
SHAPE = (2, 3, 4, 5)


def batch(kind, seed=0):
    """A network's output and a target, half of it known, a part of it ignored."""
    draw = torch.Generator().manual_seed(seed)
    more = CHANNELS[kind]
    output = torch.randn((2, 4 + more, *SHAPE[1:]), generator=draw)
    classes = torch.randint(0, 4, SHAPE, generator=draw)
    known = torch.rand(SHAPE, generator=draw) < 0.5
    classes[:, 2] = IGNORED
    known[:, 2] = False
    geometry = torch.rand((2, more, *SHAPE[1:]), generator=draw)
    if kind == "boundary":
        geometry = geometry.round()
    return output, torch.cat([torch.stack([classes, known], dim=1).float(), geometry], dim=1)


def criterion(kind, weight=1.0, name="dice-ce"):
    return make_criterion(Loss(name=name), Target(kind=kind, weight=weight), Geometry(kind, CHANNELS[kind]))


def by_hand(kind, raw, wanted, known):
    """Mean over known voxels, channels added up."""
    if kind == "boundary":
        values = -(wanted * raw.sigmoid().log() + (1 - wanted) * (1 - raw.sigmoid()).log())
    else:
        values = ((raw if kind == "flows" else raw.sigmoid()) - wanted) ** 2
    voxels = [values[b, :, z, y, x].sum() for b, z, y, x in known.nonzero().tolist()]
    return torch.stack(voxels).mean()


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("name", ["dice-ce", "tversky-focal"])
def test_numbers(kind, name):
    output, target = batch(kind)
    classes = make_loss(Loss(name=name))(output[:, :4], target[:, 0].to(torch.uint8))
    geometry = by_hand(kind, output[:, 4:], target[:, 2:], target[:, 1] == 1)
    for weight in (1.0, 0.3):
        found = criterion(kind, weight, name)(output, target)
        torch.testing.assert_close(found, classes + weight * FACTORS[kind] * geometry, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", CHANNELS)
def test_gradients_only_where_something_is_known(kind):
    output, target = batch(kind)
    output.requires_grad_()
    criterion(kind)(output, target).backward()
    known = target[:, 1:2].bool().expand(-1, CHANNELS[kind], -1, -1, -1)
    assert (output.grad[:, 4:][known] != 0).float().mean() > 0.9
    assert (output.grad[:, 4:][~known] == 0).all()
    ignored = (target[:, :1] == IGNORED).expand(-1, 4, -1, -1, -1)
    assert (output.grad[:, :4][ignored] == 0).all()
    assert (output.grad[:, :4][~ignored] != 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_batch_of_which_nothing_is_known(kind):
    output, target = batch(kind)
    target[:, 0], target[:, 1] = IGNORED, 0
    output.requires_grad_()
    value = criterion(kind)(output, target)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(output.grad).all()
    assert (output.grad[:, 4:] == 0).all()


@pytest.mark.parametrize("kind", CHANNELS)
def test_without_geometry_to_learn_the_classes_stay(kind):
    """Background and networks: the loss is that of the classes, to the bit."""
    output, target = batch(kind)
    target[:, 1] = 0
    found = criterion(kind)(output, target)
    assert found == make_loss(Loss())(output[:, :4], target[:, 0].to(torch.uint8))
    assert make_criterion(Loss(), Target(), None)(output[:, :4], target[:, 0].to(torch.uint8)) == found


@pytest.mark.parametrize("kind", CHANNELS)
def test_what_is_right_costs_nothing(kind):
    output, target = batch(kind)
    target[:, 2:] = target[:, 2:].round()
    right = target[:, 2:] if kind == "flows" else (target[:, 2:] * 2 - 1) * 20
    classes = make_loss(Loss())(output[:, :4], target[:, 0].to(torch.uint8))
    found = criterion(kind)(torch.cat([output[:, :4], right], dim=1), target)
    assert float(found - classes) == pytest.approx(0, abs=1e-5)


def test_half_precision_outputs():
    output, target = batch("flows")
    found = criterion("flows")(output.bfloat16(), target)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(criterion("flows")(output, target)), rel=0.02)
