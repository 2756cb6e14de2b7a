"""The memory of SAM2 and of SAM3's tracker, along slices, both ways."""

import numpy as np
import pytest
import torch
from engines.prompting import disc, network
from transformers import Sam2VideoInferenceSession

from copick_tools.engines.promptable.following import Frames, SamFollower
from copick_tools.engines.promptable.parts import remembers

VOLUME = np.random.default_rng(0).normal(size=(6, 30, 40)).astype(np.float32)
MASKS = np.stack([disc((30, 40), (10, 12), 6), disc((30, 40), (20, 30), 7)])


def following(kind="sam2_video"):
    made = network(kind)
    for part in (
        *made.memory_attention.modules(),
        *made.memory_encoder.modules(),
    ):  # transformers' random weights are small
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
            part.reset_parameters()
    made.mask_decoder.pred_obj_score_head.proj_out.bias.data += 5.0  # objects are there
    return SamFollower(made, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["sam2_video", "sam3_tracker_video"])
@pytest.mark.parametrize(("z", "step", "slices"), [(2, 1, [3, 4, 5]), (3, -1, [2, 1, 0]), (5, 1, []), (0, -1, [])])
def test_both_ways(kind, z, step, slices):
    found = list(following(kind).follow(VOLUME, z, MASKS, step))
    assert [number for number, _ in found] == slices
    for _, answer in found:
        assert answer.masks.shape == (2, 1, 30, 40)
        assert answer.iou.shape == (2, 1)
        assert np.isfinite(answer.masks).all()
        assert ((answer.iou > 0.5) & (answer.iou <= 1)).all()
        assert np.abs(answer.masks[0] - answer.masks[1]).max() > 1e-4


def test_the_same_as_transformers_that_keeps_everything():
    """Of one object, all slices in memory, and its own way through a video."""
    model = following()
    frames = torch.stack([Frames(model.sight, VOLUME, model.device)[z] for z in range(6)])
    session = Sam2VideoInferenceSession(video=frames, dtype=torch.float32)
    session.add_mask_inputs(session.obj_id_to_idx(1), 4, model._given(MASKS[:1]))
    session.obj_with_new_inputs.append(1)
    expected = {
        found.frame_idx: model.sight.logits(found.pred_masks, (30, 40)).numpy()
        for found in model.network.propagate_in_video_iterator(session, start_frame_idx=4, reverse=True)
    }
    for z, answer in model.follow(VOLUME, 4, MASKS[:1], -1):
        np.testing.assert_allclose(answer.masks, expected.pop(z), atol=1e-5)
    assert set(expected) == {4}


def test_the_mask_and_the_slices_between_count():
    model = following()
    last = [list(model.follow(VOLUME, 1, MASKS[row : row + 1], 1))[-1][1].masks for row in (0, 1)]
    assert np.abs(last[0] - last[1]).max() > 1e-4
    changed = VOLUME.copy()
    changed[2] = -changed[2]
    again = list(model.follow(changed, 1, MASKS[:1], 1))[-1][1].masks
    assert np.abs(again - last[0]).max() > 1e-6


def test_it_reads_slice_by_slice_and_ends_when_closed():
    read = []

    class Volume:
        shape = VOLUME.shape

        def __getitem__(self, region):
            read.append(region[0].start)
            return VOLUME[region]

    slices = following().follow(Volume(), 1, MASKS, 1)
    assert next(slices)[0] == 2
    slices.close()
    assert read == [1, 2]


def test_what_no_slice_looks_at_is_forgotten():
    model, deep = following(), np.random.default_rng(1).normal(size=(24, 16, 16)).astype(np.float32)
    model.network.config.num_maskmem = 3
    model.network.config.max_object_pointers_in_encoder = 4
    sessions = []
    session_of = model._session
    model._session = lambda *given: sessions.append(session_of(*given)) or sessions[-1]
    list(model.follow(deep, 0, np.ones((1, 16, 16), bool), 1))
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
    assert list(following().follow(VOLUME, 2, np.zeros((0, 30, 40), bool), 1)) == []


def test_identity_is_of_the_memory_too():
    one, other = following(), following()
    assert one.identity == other.identity
    changed = following()
    changed.network.memory_encoder.projection.bias.data += 1
    assert changed.identity != one.identity
