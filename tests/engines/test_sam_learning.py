"""Fine-tuning by rounds of prompts: the loss, what learns, and what doesn't."""

import numpy as np
import pytest
import torch
from engines.prompting import config, disc

from copick_tools.engines import lora, sam, sam2
from copick_tools.engines.promptable.family import limit
from copick_tools.engines.promptable.network import Lessons
from copick_tools.engines.promptable.rounds import loss_of
from copick_tools.inference.geometry import Geometry
from copick_tools.recipes.recipe import IGNORED, Loss, Target
from copick_tools.training.losses import make_criterion

CRITERION = make_criterion(Loss(), Target(kind="distances"), Geometry("distances", 2))
FAMILIES = {"sam": sam, "sam2_video": sam2}


def settings(kind="sam", **more):
    return FAMILIES[kind].Model(
        **{"config": config(kind), "iterations": 3, "smallest": 4, "objects_per_image": 4, **more}
    )


def made(kind="sam", outputs=0, **more):
    """A network that learns, with random weights."""
    torch.manual_seed(0)
    model = settings(kind, **more)
    network = FAMILIES[kind].build(model, outputs)
    limit(network.sam, model)
    if model.lora:
        lora.adapt(network.sam.vision_encoder, model.lora)
    network.lessons = Lessons(model, 0, 2, CRITERION)
    return network.train()


def batch():
    """Two slices of dark discs, (B, 1, 1, y, x), and their target (B, 5, 1, y, x); nothing is known of a corner of the second."""
    ids = np.zeros((2, 32, 40), np.float32)
    for number, place in enumerate([(8, 8), (20, 12), (12, 28), (24, 32)], 1):
        ids[0][disc((32, 40), place, 5)] = number
        ids[1][disc((32, 40), place[::-1], 4)] = number
    known = (ids > 0).astype(np.float32)
    classes = known.copy()
    classes[1, 26:, 34:] = IGNORED
    rng = np.random.default_rng(0)
    voxels = rng.normal(0, 0.3, ids.shape) - 2 * known
    target = np.stack([classes, known, ids, 1 - known, 1 - known], axis=1)
    return torch.from_numpy(voxels.astype(np.float32))[:, None, None], torch.from_numpy(target)[:, :, None]


def losses(network, steps, lr=3e-3):
    """Of steps with the same prompts."""
    voxels, target = batch()
    learning = [weights for weights in network.parameters() if weights.requires_grad]
    optimizer, found = torch.optim.Adam(learning, lr), []
    for _ in range(steps):
        loss = network(voxels, target, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize(
    ("kind", "outputs", "box_probability"),
    [("sam", 0, 0.0), ("sam", 4, 1.0), ("sam2_video", 0, 1.0), ("sam2_video", 4, 0.0)],
)
def test_three_steps_lower_the_loss(kind, outputs, box_probability):
    found = losses(made(kind, outputs, box_probability=box_probability), 3)
    assert found[-1] < found[0] - 0.01


def test_steps_draw_their_own_prompts():
    network = made(box_probability=0.5)
    voxels, target = batch()
    with torch.no_grad():
        one, same, other = (float(network(voxels, target, step)) for step in (3, 3, 4))
    assert one == same != other


def test_a_slice_without_objects_has_a_gradient_of_nothing():
    network = made()
    voxels, target = batch()
    target[:, 1:3] = 0
    loss = network(voxels, target, 0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(weights.grad is not None for weights in network.parameters() if weights.requires_grad)
    assert not any(weights.grad.abs().sum() for weights in network.parameters() if weights.requires_grad)


def test_what_nobody_annotated_teaches_nothing():
    """Whatever the slice's target says in the corner that is unknown."""
    network = made()
    voxels, target = batch()
    changed = target.clone()
    changed[1, 2, :, 26:, 34:] = 9  # an id, of which nothing is known
    with torch.no_grad():
        assert float(network(voxels, target, 0)) == float(network(voxels, changed, 0))


def after(network, steps=2):
    """Names of the weights that some steps changed."""
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    losses(network, steps)
    return {name for name, weights in network.state_dict().items() if not torch.equal(weights, before[name])}


@pytest.mark.parametrize("kind", FAMILIES)
def test_frozen_parts_stay(kind):
    moved = after(made(kind, 4, frozen=("image-encoder", "prompt-encoder")))
    assert {name.split(".")[1] for name in moved if name.startswith("sam.")} <= {"mask_decoder", "no_memory_embedding"}
    assert any(name.startswith("sam.mask_decoder") for name in moved)
    assert any(name.startswith("readout") for name in moved)


@pytest.mark.parametrize("kind", FAMILIES)
def test_positions_and_memory_stay(kind):
    moved = after(made(kind))
    assert any(name.startswith("sam.vision_encoder") for name in moved)
    assert any(name.startswith("sam.prompt_encoder.mask_embed") for name in moved)
    assert not any(
        "shared" in name or "memory_a" in name or "memory_enc" in name or "pointer" in name for name in moved
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_learn_alone_and_can_be_merged(kind):
    network = made(kind, lora=2)
    moved = after(network)
    seeing = {name for name in moved if name.startswith("sam.vision_encoder")}
    assert seeing
    assert all("lora_" in name for name in seeing)
    assert any(name.startswith("sam.mask_decoder") for name in moved)
    plain = FAMILIES[kind].build(settings(kind))
    lora.take_adapted(plain)
    plain.load_state_dict(network.state_dict())
    voxels, _ = batch()
    from copick_tools.engines.promptable.parts import encoded

    pixels = network.sight.pixels(voxels[:, 0, 0])
    with torch.no_grad():
        for one, other in zip(encoded(network.eval().sam, pixels), encoded(plain.eval().sam, pixels)):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert set(lora.merged(network.state_dict())) == set(plain.state_dict())


def test_loss_by_hand():
    wanted = torch.zeros(1, 4, 4, dtype=torch.bool)
    wanted[0, :2] = True
    known = torch.ones(4, 4, dtype=torch.bool)
    right, wrong = torch.where(wanted, 50.0, -50.0), torch.where(wanted, -50.0, 50.0)
    assert float(loss_of(right[:, None], torch.ones(1, 1), wanted, known)) == pytest.approx(0, abs=1e-5)
    assert float(loss_of(wrong[:, None], torch.zeros(1, 1), wanted, known)) == pytest.approx(1, abs=1e-5)
    assert float(loss_of(right[:, None], torch.full((1, 1), 0.5), wanted, known)) == pytest.approx(0.25, abs=1e-5)
    both = torch.stack([wrong, right], dim=1)
    assert float(loss_of(both, torch.tensor([[0.0, 1.0]]), wanted, known)) == pytest.approx(0, abs=1e-5)
    assert float(loss_of(both, torch.tensor([[1.0, 1.0]]), wanted, known)) == pytest.approx(0.5, abs=1e-5)
    everywhere = torch.full((1, 1, 4, 4), 50.0)
    assert float(loss_of(everywhere, torch.full((1, 1), 0.5), wanted, known)) == pytest.approx(1 - 16 / 24, abs=1e-4)
    known[2:] = False
    assert float(loss_of(everywhere, torch.ones(1, 1), wanted, known)) == pytest.approx(0, abs=1e-4)
