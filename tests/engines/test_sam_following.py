"""The memory of SAM2 and of SAM3's tracker, along slices, both ways."""

import numpy as np
import pytest
import torch
from engines.prompting import disc, network
from transformers import Sam2VideoInferenceSession, Sam3TrackerVideoInferenceSession

from copick_tools.engines.promptable.answers import SamPromptable
from copick_tools.engines.promptable.following import SamFollower
from copick_tools.engines.promptable.parts import remembers

VOLUME = np.random.default_rng(0).normal(size=(6, 30, 40)).astype(np.float32)
MASKS = np.stack([disc((30, 40), (10, 12), 6), disc((30, 40), (20, 30), 7)])


def slices(model, volume=VOLUME):
    """Of a volume, as the model beside the memory encodes them."""
    eyes = SamPromptable(model.network, model.device, model.mixed)
    return [eyes.encode(plane) for plane in volume]


def followed(model, *given, volume=VOLUME):
    return list(model.follow(slices(model, volume), *given))


def following(kind="sam2_video", mixed=False):
    made = network(kind)
    for part in (
        *made.memory_attention.modules(),
        *made.memory_encoder.modules(),
    ):  # transformers' random weights are small
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
            part.reset_parameters()
    made.mask_decoder.pred_obj_score_head.proj_out.bias.data += 5.0  # objects are there
    return SamFollower(made, torch.device("cpu"), mixed)


@pytest.mark.parametrize("kind", ["sam2_video", "sam3_tracker_video"])
@pytest.mark.parametrize(("z", "step", "numbers"), [(2, 1, [3, 4, 5]), (3, -1, [2, 1, 0]), (5, 1, []), (0, -1, [])])
def test_both_ways(kind, z, step, numbers):
    found = followed(following(kind), z, MASKS, step)
    assert [number for number, _ in found] == numbers
    for _, answer in found:
        assert answer.masks.shape == (2, 1, 30, 40)
        assert answer.iou.shape == (2, 1)
        assert np.isfinite(answer.masks).all()
        assert ((answer.iou > 0.5) & (answer.iou <= 1)).all()
        assert np.abs(answer.masks[0] - answer.masks[1]).max() > 1e-4


@pytest.mark.parametrize(
    ("kind", "session"),
    [("sam2_video", Sam2VideoInferenceSession), ("sam3_tracker_video", Sam3TrackerVideoInferenceSession)],
)
def test_the_same_as_transformers_that_encodes_and_keeps_everything(kind, session):
    """Of one object, all slices in memory, and its own way through a video."""
    model = following(kind)
    session = session(video=model.sight.pixels(torch.from_numpy(VOLUME)), dtype=torch.float32)
    session.add_mask_inputs(session.obj_id_to_idx(1), 4, model._given(MASKS[:1]))
    session.obj_with_new_inputs.append(1)
    expected = {
        found.frame_idx: model.sight.logits(found.pred_masks, (30, 40)).numpy()
        for found in model.network.propagate_in_video_iterator(session, start_frame_idx=4, reverse=True)
    }
    for z, answer in followed(model, 4, MASKS[:1], -1):
        np.testing.assert_allclose(answer.masks, expected.pop(z), atol=1e-5)
    assert set(expected) == {4}


def test_the_mask_and_the_slices_between_count():
    model = following()
    last = [followed(model, 1, MASKS[row : row + 1], 1)[-1][1].masks for row in (0, 1)]
    assert np.abs(last[0] - last[1]).max() > 1e-4
    changed = VOLUME.copy()
    changed[2] = -changed[2]
    again = followed(model, 1, MASKS[:1], 1, volume=changed)[-1][1].masks
    assert np.abs(again - last[0]).max() > 1e-6


def test_it_looks_at_slice_after_slice_and_encodes_none(monkeypatch):
    model, looked = following(), []

    class Slices(list):
        def __getitem__(self, z):
            looked.append(z)
            return super().__getitem__(z)

    encoded = Slices(slices(model))
    monkeypatch.setattr(model.network, "get_image_features", None)
    found = model.follow(encoded, 1, MASKS, 1)
    assert next(found)[0] == 2
    found.close()
    assert looked == [1, 2]  # once for both objects


def test_mixed_precision_is_near():
    exact, mixed = (followed(following(mixed=kind), 2, MASKS, 1) for kind in (False, True))
    for (_, one), (_, other) in zip(exact, mixed, strict=True):
        assert np.abs(one.masks - other.masks).max() < 0.1 * np.abs(one.masks).max()


def test_what_no_slice_looks_at_is_forgotten():
    model, deep = following(), np.random.default_rng(1).normal(size=(24, 16, 16)).astype(np.float32)
    model.network.config.num_maskmem = 3
    model.network.config.max_object_pointers_in_encoder = 4
    sessions = []
    session_of = model._session
    model._session = lambda *given: sessions.append(session_of(*given)) or sessions[-1]
    followed(model, 0, np.ones((1, 16, 16), bool), 1, volume=deep)
    (outputs,) = sessions[0].output_dict_per_obj.values()
    assert len(outputs["non_cond_frame_outputs"]) == 5
    assert not any("high_res_masks" in kept for part in outputs.values() for kept in part.values())


def test_a_memory_that_transformers_cannot_run_is_none():
    """Which splits an object's 128 numbers into two of the memory's 64, and fails at one."""
    made = network("sam2_video")
    assert remembers(made)
    made.mem_dim = made.hidden_dim
    assert not remembers(made)
    assert not remembers(network("sam2"))


def test_no_objects():
    assert followed(following(), 2, np.zeros((0, 30, 40), bool), 1) == []
