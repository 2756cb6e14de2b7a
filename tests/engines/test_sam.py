"""Segment Anything behind prompts: the same answers as transformers' own, at places that are the image's."""

import numpy as np
import pytest
import torch
from engines.prompting import TINY, asked, disc, network

from copick_tools.engines import sam, sam2
from copick_tools.engines.promptable import parts
from copick_tools.engines.promptable.answers import SamPromptable, shape_of
from copick_tools.engines.promptable.images import SURELY, Sight
from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.load import parse

IMAGE = np.random.default_rng(0).normal(size=(20, 26)).astype(np.float32)
POINTS = np.array([[[4.0, 5.0], [15.0, 20.0]], [[9.0, 2.0], [3.0, 3.0]], [[12.0, 9.0], [0.0, 0.0]]])
LABELS = np.array([[1, 0], [1, 1], [1, -1]])
BOXES = np.array([[2.0, 3.0, 9.0, 12.0], [0.0, 0.0, 20.0, 26.0], [5.0, 5.0, 7.0, 8.0]])
MASKS = np.stack([disc(IMAGE.shape, (6, 7), 4), disc(IMAGE.shape, (12, 20), 5), disc(IMAGE.shape, (3, 3), 2)])
PROMPTS = {
    "points": {"points": POINTS, "labels": LABELS},
    "boxes": {"boxes": BOXES},
    "masks": {"masks": MASKS},
    "all": {"points": POINTS, "labels": LABELS, "boxes": BOXES, "masks": MASKS},
}


@pytest.mark.parametrize(
    ("family", "preset", "millions"),
    [
        (sam, "vit-b", 93.7),
        (sam, "vit-l", 312.3),
        (sam, "vit-h", 641.1),
        (sam2, "hiera-t", 38.9),
        (sam2, "hiera-s", 46.0),
        (sam2, "hiera-b+", 80.8),
        (sam2, "hiera-l", 224.4),
    ],
)
def test_sizes_are_the_published_ones(family, preset, millions):
    with torch.device("meta"):
        built = family.build(family.Model(preset=preset))
    assert built.readout is None
    assert sum(weights.numel() for weights in built.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("several", [False, True])
def test_answers_are_those_of_transformers(kind, several):
    model = asked(kind)
    embedding = model.encode(IMAGE)
    assert shape_of(embedding) == IMAGE.shape
    answer = model.predict(embedding, points=POINTS, labels=LABELS, several=several)
    own, see = model.network, model.sight
    if kind.endswith("_video"):  # transformers' forward of these is for videos; that of images has the same weights
        own = network(kind.removesuffix("_video"), seed=1)
        own.load_state_dict(
            {name: value for name, value in model.network.state_dict().items() if name in own.state_dict()}
        )
    with torch.no_grad():
        found = own(
            pixel_values=see.pixels(torch.from_numpy(IMAGE[None])),
            input_points=see.points(torch.from_numpy(POINTS), IMAGE.shape)[None],
            input_labels=torch.from_numpy(LABELS)[None].int(),
            multimask_output=several,
        )
    expected = see.logits(found.pred_masks[0], IMAGE.shape).numpy()
    assert answer.masks.shape == (3, 3 if several else 1, *IMAGE.shape)
    np.testing.assert_allclose(answer.masks, expected, atol=1e-5)
    np.testing.assert_allclose(answer.iou, found.iou_scores[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["sam", "sam2", "sam2_video"])
@pytest.mark.parametrize("given", PROMPTS)
def test_a_batch_is_its_parts(kind, given):
    model, prompts = asked(kind), PROMPTS[given]
    embedding = model.encode(IMAGE)
    together = model.predict(embedding, **prompts)
    for row in range(3):
        alone = model.predict(embedding, **{name: value[row : row + 1] for name, value in prompts.items()})
        np.testing.assert_allclose(alone.masks[0], together.masks[row], atol=1e-4)
        np.testing.assert_allclose(alone.iou[0], together.iou[row], atol=1e-5)
    assert np.abs(together.masks[0] - together.masks[1]).max() > 1e-2


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_each_prompt_counts(kind):
    model = asked(kind)
    embedding = model.encode(IMAGE)
    answers = [model.predict(embedding, **prompts).masks for prompts in PROMPTS.values()]
    for number, answer in enumerate(answers):
        assert all(np.abs(answer - other).max() > 1e-3 for other in answers[:number])
    logits = np.where(MASKS, SURELY, -SURELY).astype(np.float32)
    np.testing.assert_allclose(model.predict(embedding, masks=logits).masks, answers[2], atol=1e-5)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_embeddings_are_stored_as_they_are(kind):
    model = asked(kind)
    first, second = model.encode(IMAGE), model.encode(IMAGE.copy(order="F"))
    assert all(isinstance(part, np.ndarray) for part in first.values())
    for name, part in first.items():
        np.testing.assert_array_equal(part, second[name])
    kept = {name: part.copy() for name, part in first.items()}
    np.testing.assert_array_equal(model.predict(kept, boxes=BOXES).masks, model.predict(first, boxes=BOXES).masks)


def test_identity_is_of_what_embeddings_come_from():
    one, same, other = (SamPromptable(network("sam", seed), torch.device("cpu")) for seed in (0, 0, 1))
    assert one.identity == same.identity != other.identity
    assert one.identity == SamPromptable(one.network, torch.device("cpu"), mixed=True).identity  # a GPU's, on a CPU
    changed = SamPromptable(network("sam"), torch.device("cpu"))
    changed.network.mask_decoder.iou_token.weight.data += 1
    assert changed.identity == one.identity
    changed = SamPromptable(network("sam"), torch.device("cpu"))
    changed.network.vision_encoder.pos_embed.data += 1
    assert changed.identity != one.identity


def test_mixed_precision_stores_half():
    model = SamPromptable(network("sam"), torch.device("cpu"), mixed=True)
    embedding = model.encode(IMAGE)
    assert embedding["features0"].dtype == np.float16
    exact = asked("sam").predict(asked("sam").encode(IMAGE), boxes=BOXES)
    np.testing.assert_allclose(model.predict(embedding, boxes=BOXES).masks, exact.masks, atol=0.1)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_mixed_precision_keeps_places(kind):
    """Which bfloat16, with three digits, would not."""
    said = []
    for mixed in (False, True):
        model = SamPromptable(network(kind), torch.device("cpu"), mixed)
        model.network.prompt_encoder.register_forward_hook(lambda part, given, found: said.append(found[0]))
        model.predict(model.encode(IMAGE), points=POINTS, labels=LABELS)
    torch.testing.assert_close(said[0], said[1], atol=0, rtol=0)


def test_nothing_asked():
    model = asked("sam")
    embedding = model.encode(IMAGE)
    with pytest.raises(ValueError, match="at least one kind of prompt"):
        model.predict(embedding)
    none = model.predict(embedding, boxes=np.zeros((0, 4)), several=True)
    assert none.masks.shape == (0, 3, 20, 26)
    assert none.iou.shape == (0, 3)


def test_damaged_weights_are_told():
    model = SamPromptable(network("sam"), torch.device("cpu"))
    model.network.vision_encoder.pos_embed.data += torch.nan
    with pytest.raises(ValueError, match="isn't finite"):
        model.encode(IMAGE)


SIGHT = Sight(64, 16, True, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STRETCHED = Sight(64, 16, False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(("sight", "size"), [(SIGHT, (32, 64)), (STRETCHED, (64, 64))])
def test_places_are_where_the_pixels_went(sight, size):
    image = torch.full((1, 8, 16), -3.0)
    image[0, 5, 12] = 3.0
    assert sight.size((8, 16)) == size
    pixels = sight.pixels(image)
    assert pixels.shape == (1, 3, 64, 64)
    assert float(pixels[:, :, size[0] :].abs().sum()) == 0
    y, x = np.meshgrid(*map(np.arange, (64, 64)), indexing="ij")
    weights = pixels[0, 0].numpy()
    place = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
    np.testing.assert_allclose(sight.points(torch.tensor([[5, 12]]), (8, 16))[0].numpy(), place, atol=1e-4)


def test_boxes_end_at_the_last_pixel():
    found = SIGHT.boxes(torch.tensor([[2, 3, 4, 8]]), (64, 64))
    assert found.tolist() == [[3, 2, 7, 3]]
    assert STRETCHED.boxes(torch.tensor([[0, 0, 1, 1]]), (32, 64)).tolist() == [[0, 0.5, 0, 0.5]]


@pytest.mark.parametrize("sight", [SIGHT, STRETCHED])
def test_masks_go_to_the_grid_and_back(sight):
    mask = torch.from_numpy(disc((24, 48), (10, 30), 8))[None]
    given = sight.masks(mask)
    assert given.shape == (1, 1, 16, 16)
    assert float(given.max()) == pytest.approx(SURELY)
    back = sight.logits(given, (24, 48))[0, 0] > 0
    assert float((back & mask[0]).sum() / (back | mask[0]).sum()) > 0.8


def test_odd_configurations():
    with pytest.raises(FormatError, match="no key 'hidden_sice'") as caught:
        parts.built({"model_type": "sam", "vision_config": {"hidden_sice": 3}})
    assert "hidden_size" in caught.value.hint
    with pytest.raises(FormatError, match="model_type 'sam4'"):
        parts.built({"model_type": "sam4"})
    with pytest.raises(FormatError, match="makes no Sam"):
        parts.built({"model_type": "sam", "vision_config": {"hidden_size": "many"}})
    with pytest.raises(FormatError, match="makes no network"), torch.device("meta"):
        parts.built({"model_type": "sam", "vision_config": {"patch_size": 0}})
    with pytest.raises(FormatError, match="takes sam2, sam2_video"):
        parse(sam2.Model, {"config": {"model_type": "sam"}}, where="model")


def test_a_network_that_only_answers_has_no_maps():
    with pytest.raises(UsageError, match="answers prompts"):
        sam.build(sam.Model(preset="tiny"))(torch.zeros(1, 1, 1, 16, 16))
