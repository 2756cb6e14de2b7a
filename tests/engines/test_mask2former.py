"""Mask2Former: its sizes, what it learns from, published weights, what it refuses, and that it finds what it has learned."""

import json

import families
import numpy as np
import pytest
import torch
from training.cells import cells, recipe

pytest.importorskip("transformers")

from copick_tools.data.project import open_project
from copick_tools.data.read import read_segmentation
from copick_tools.data.uris import segmentation_uri
from copick_tools.engines import mask2former, mask2former_loss, registry
from copick_tools.engines.describe import describe
from copick_tools.engines.mask2former import Model, Queries, build, probabilities, start
from copick_tools.engines.mask2former_loss import LEAST, known, objects_of
from copick_tools.engines.mask2former_weights import stored
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.inference.mapped import predict_instances
from copick_tools.inference.queries import Queried
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.recipe import IGNORED
from copick_tools.volumes.decoding import Decoding
from copick_tools.workflows.train import plan_training, train

SMALL = {
    **{"embed_dim": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8), "window": 4, "drop_path": 0.1, "width": 32},
    **{"attention_heads": 4, "encoder_layers": 1, "encoder_inner": 64, "decoder_layers": 2, "decoder_inner": 64},
    **{"queries": 8, "points": 256},
}
SETTINGS = (
    f"model={json.dumps({'family': 'mask2former', **SMALL})}",
    "train.patch=[1,64,64]",
    "target.kind=instances",
    "instances.views=stitched",
    "augment={turn: 0.5}",
)


def scene(depth=3, seed=0):
    """(2, z, y, x) labels and ids: two vesicles and two mitochondria, columns along z."""
    truth = np.zeros((2, depth, 64, 64), np.int64)
    y, x = np.ogrid[:64, :64]
    rng = np.random.default_rng(seed)
    for number, (row, column) in enumerate(((16, 16), (16, 46), (46, 16), (46, 46))):
        row, column = np.array([row, column]) + rng.integers(-4, 5, 2)
        disc = (y - row) ** 2 + (x - column) ** 2 <= (9 + number) ** 2
        truth[:, :, disc] = np.array([1 + number % 2, 1 + number // 2])[:, None, None]
    return truth


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return cells(tmp_path_factory.mktemp("scene"), A=scene(), B=scene())


def read(folder, *more):
    return load_recipe(recipe(folder), (*SETTINGS, *more))


def trained(project, folder, *more, out="out", progress=lambda done, total: None, **how):
    plan = plan_training(project, recipe(folder), (*SETTINGS, *more), folder / out)
    return train(project, plan, progress, device="cpu", **how)[0]


def weights_of(path):
    return torch.load(path, weights_only=True)


# ---- sizes


@pytest.mark.parametrize(("preset", "millions"), [("swin-t", 47), ("swin-s", 69), ("swin-b", 107), ("swin-l", 216)])
def test_parameters_are_the_papers(preset, millions):
    """Cheng et al., table 1: for the 80 classes of COCO."""
    parameters, _ = families.sizes(mask2former, Model(preset=preset), 81)
    assert parameters == pytest.approx(millions * 1e6, rel=0.015)


def test_models_show():
    card = describe("mask2former")
    assert 47e6 < card.parameters < 48e6
    assert card.extra == "sam"
    assert "swin-l" in card.fields["preset"]
    assert families.sizes(mask2former, Model(preset="tiny"))[0] < 1_200_000


@pytest.mark.parametrize(
    "given", [{"heads": (3, 6, 12, 25)}, {"width": 48}, {"attention_heads": 7}, {"depths": (2, 2)}]
)
def test_settings_that_do_not_fit(given):
    with pytest.raises(ValueError, match="heads|width|depths"):
        Model(**given)


# ---- what it learns from


def target(labels, ids):
    """(3, y, x) as crops have it."""
    labels, ids = np.asarray(labels), np.asarray(ids)
    return torch.from_numpy(np.stack([labels, ids > 0, ids]).astype(np.float32))


def test_each_id_is_one_mask():
    labels, ids = np.zeros((2, 16, 16), int)
    labels[:4, :4], ids[:4, :4] = 2, 7
    labels[12:, 12:], ids[12:, 12:] = 2, 7  # the same object, cut twice
    labels[:8, 8:], ids[:8, 8:] = 1, 300
    labels[10:13, :5], ids[10:13, :5] = 1, 4  # 15 pixels: too little
    labels[14:, :2] = 2  # without an id
    labels[:, 5:7] = IGNORED
    masks, classes, unknown = objects_of(target(labels, ids))
    assert classes.tolist() == [1, 0]
    np.testing.assert_array_equal(masks, np.stack([ids == 7, ids == 300]))
    assert (ids == 4).sum() == LEAST - 1
    np.testing.assert_array_equal(unknown, (labels == IGNORED) | (ids == 4) | ((labels == 2) & (ids == 0)))


def test_images_without_objects():
    masks, classes, unknown = objects_of(target(np.zeros((8, 8)), np.zeros((8, 8))))
    assert (masks.shape, classes.shape, unknown.any()) == ((0, 8, 8), (0,), torch.tensor(False))


def batch():
    """Voxels (2, 1, 1, 64, 64) and a target (2, 3, 1, 64, 64); nothing is on the second image."""
    truth = scene(1)
    labels, ids = truth[0, 0], truth[0, 0] * 10 * (truth[1, 0] > 0) + truth[1, 0]
    both = torch.stack([target(labels, ids), torch.zeros(3, 64, 64)])
    voxels = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.3 - both[:, :1]
    return voxels.unsqueeze(2), both.unsqueeze(2)


def network(**more):
    torch.manual_seed(0)
    return Queries(Model(**{**SMALL, **more}), 2)


def test_loss_is_the_same_for_a_seed_and_falls():
    voxels, wanted = batch()
    learning, losses = network(), []
    optimizer = torch.optim.AdamW(learning.parameters(), 2e-3)
    for step in (0, 0, *range(12)):
        torch.manual_seed(step)
        loss = learning(voxels, wanted, step)
        losses.append(float(loss.detach()))
        if len(losses) > 1:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert losses[0] == losses[1]
    assert losses[-1] < 0.8 * losses[0]
    assert loss.dtype == torch.float32
    without = network()(voxels[1:], wanted[1:], 0)
    without.backward()
    assert 0 < without.item() < losses[0]


def test_loss_is_that_of_transformers():
    """Where all is known."""
    voxels, wanted = batch()
    learning = network().eval()
    theirs = [objects_of(one) for one in wanted.squeeze(2)]
    torch.manual_seed(3)
    ours = learning.loss(voxels.squeeze(2), wanted.squeeze(2))
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    learning.network.criterion = Mask2FormerLoss(learning.network.config, learning.network.weight_dict)
    torch.manual_seed(3)
    masks, classes = ([one[part] for one in theirs] for part in (0, 1))
    same = learning.network(voxels.squeeze(2), mask_labels=masks, class_labels=classes).loss
    torch.testing.assert_close(ours, same)


def test_processes_that_share_a_batch(monkeypatch):
    """The mean of what they have is what one has, though one of them has no object."""
    criterion, draw = network().network.criterion, torch.Generator().manual_seed(0)
    said, labels = (
        torch.randn(4, 5, 3, generator=draw),
        [torch.tensor([1, 0]), torch.tensor([1]), *torch.ones(2, 0).long()],
    )
    pairs = [(torch.tensor([4, 1]), torch.tensor([0, 1])), (torch.tensor([2]), torch.tensor([0]))]
    pairs += [(torch.tensor([], dtype=torch.int64),) * 2] * 2
    whole = criterion.loss_labels(said, labels, pairs)["loss_cross_entropy"]
    assert criterion.get_num_masks(labels, "cpu") == 3
    assert criterion.get_num_masks(labels[2:], "cpu") == 1
    monkeypatch.setattr(mask2former_loss.team, "size", lambda: 2)
    monkeypatch.setattr(mask2former_loss, "total", lambda value: torch.tensor(3 + 0.1 * 17))
    halves = [criterion.loss_labels(said[part], labels[part], pairs[part]) for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(sum(half["loss_cross_entropy"] for half in halves) / 2, whole)
    monkeypatch.setattr(mask2former_loss, "total", lambda value: torch.tensor(3.0))
    assert criterion.get_num_masks(labels[2:], "cpu") == 1.5


def test_every_layer_is_trained_or_the_last_alone():
    voxels, wanted = batch()
    losses = []
    for auxiliary in (True, False):
        learning = network(auxiliary=auxiliary, drop_path=0.0)
        torch.manual_seed(1)
        losses.append(learning(voxels, wanted).item())
    assert losses[0] > 2 * losses[1]


def test_what_is_unknown_teaches_nothing():
    """Whatever queries say of where nobody looked: the loss is the same."""
    said = {"masks_queries_logits": torch.randn(1, 3, 16, 16), "class_queries_logits": torch.randn(1, 3, 3)}
    said["masks_queries_logits"][0, 2] = -5.0
    said["masks_queries_logits"][0, 2, :4] = 5.0  # of this one only what is unknown is seen
    said = {key: value.requires_grad_() for key, value in said.items()}
    unknown = torch.zeros(1, 64, 64, dtype=torch.bool)
    unknown[:, :15] = True
    found = known(said, unknown)
    sum(value.sum() for value in found.values()).backward()
    masks, classes = (said[key].grad[0] for key in said)
    assert (masks[:, :4] == 0).all()
    assert (masks[:, 4:] == 1).all()
    assert (found["masks_queries_logits"][0, :, :4] < -5).all()
    assert classes.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert found["class_queries_logits"][0, 2].softmax(0)[-1] > 0.999
    everything = known(said, torch.zeros(1, 64, 64, dtype=torch.bool))
    assert all(torch.equal(everything[key], said[key]) for key in said)


def test_frozen_parts_do_not_move():
    voxels, wanted = batch()
    for frozen in ((), ("backbone",)):
        learning = network(frozen=frozen).train()
        learning(voxels, wanted).backward()
        moved = [weights.grad is not None for weights in learning.backbone.swin.encoder.parameters()]
        assert all(moved) == any(moved) == (not frozen)
        assert learning.backbone.training == (not frozen)
        left = [name for name, w in learning.named_parameters() if w.requires_grad and w.grad is None]
        assert left == []


def test_probabilities_of_classes():
    masks = torch.full((3, 2, 4), -9.0)
    masks[0, :, :2], masks[1, :, 1:3], masks[2, 0] = 9.0, 9.0, 9.0
    classes = torch.tensor([[0.8, 0.1], [0.0, 0.9], [0.0, 0.0]])
    found = probabilities(classes, masks, (2, 4))
    torch.testing.assert_close(found.sum(dim=0), torch.ones(2, 4))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.1, 0.8, 0.1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, 1, 1], torch.tensor([0.0, 0.8, 1.0]) / 1.8, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, 1, 3], torch.tensor([1.0, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_maps_of_classes_are_logits_of_probabilities():
    evaluating = network().eval()
    voxels, _ = batch()
    found = evaluating(voxels)
    assert found.shape == (2, 3, 1, 64, 64)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2, 1, 64, 64), atol=1e-4, rtol=0)


def test_enlarged_slices():
    """Masks of twice the resolution, in training and prediction; smaller objects count."""
    voxels, wanted = batch()
    evaluating = network(enlarge=2).eval()
    assert evaluating.queries(voxels[:, :, 0])[1].shape == (2, 8, 32, 32)
    assert evaluating(voxels).shape == (2, 3, 1, 64, 64)
    evaluating.load_state_dict(network().state_dict())
    large = torch.nn.functional.interpolate(voxels[:, :, 0], scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(evaluating.queries(voxels[:, :, 0]), network().eval().queries(large))
    torch.manual_seed(0)
    assert torch.isfinite(evaluating.train()(voxels, wanted))
    ids = np.zeros((16, 16), int)
    ids[:2, :3], ids[8:12, 8:12] = 1, 2
    assert [len(objects_of(target(ids > 0, ids), least)[1]) for least in (16, 4)] == [1, 2]
    assert [Model(enlarge=times).multiple for times in (1, 2, 4)] == [32, 16, 8]


def test_mixed_precision():
    """Losses and probabilities are of full precision all the same."""
    voxels, wanted = batch()
    learning = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = learning(voxels, wanted)
        found = learning.eval()(voxels)
    assert loss.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2, 1, 64, 64), atol=1e-4, rtol=0)
    loss.backward()
    assert all(torch.isfinite(weights.grad).all() for weights in learning.parameters() if weights.requires_grad)


# ---- published weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as those are that are published: three colors, other objects; and its network."""
    from transformers import Mask2FormerForUniversalSegmentation

    torch.manual_seed(5)
    config = Model(**SMALL).config(7)
    config.backbone_config.num_channels = 3
    theirs = Mask2FormerForUniversalSegmentation(config).eval()
    folder = tmp_path_factory.mktemp("published")
    theirs.save_pretrained(folder)
    return folder, theirs


def test_starting_from_published_weights(published, tmp_path, capfd):
    folder, theirs = published
    torch.manual_seed(0)
    ours = start(read(tmp_path, f"model.weights={folder}"), 4).eval()
    images = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        wanted = theirs(images.expand(-1, 3, -1, -1)).masks_queries_logits
        classes, masks = ours.queries(images)
    torch.testing.assert_close(masks, wanted, atol=1e-4, rtol=1e-3)
    assert classes.shape == (2, 8, 3)
    torch.manual_seed(0)
    fresh = build(Model(**SMALL), 4)
    assert torch.equal(ours.network.class_predictor.weight, fresh.network.class_predictor.weight)
    assert capfd.readouterr() == ("", "")
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()


def test_names_that_are_published(published, tmp_path):
    """Those of the authors of transformers' first version, which published files have."""
    from safetensors.torch import load_file

    names = load_file(published[0] / "model.safetensors")
    assert any(name.endswith("attention.self.query.weight") for name in names)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda d: d.update(model_type="sam"), FormatError, "of type sam, not mask2former"),
        (lambda d: d["backbone_config"].update(model_type="resnet"), FormatError, "backbone of type resnet"),
        (lambda d: d.update(num_queries=9), UsageError, "-s model.queries=9"),
        (lambda d: d.update(decoder_layers=10), UsageError, "-s model.decoder_layers=9"),
        (lambda d: d["backbone_config"].update(depths=[1, 1, 2, 1]), UsageError, "-s model.depths=[1,1,2,1]"),
        (lambda d: d.update(pre_norm=True), FormatError, "pre_norm True"),
    ],
)
def test_folders_that_do_not_fit(published, tmp_path, change, kind, words):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    document = json.loads((published[0] / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(kind) as failed:
        mask2former.check(read(tmp_path, f"model.weights={folder}"))
    assert words in f"{failed.value.message} {failed.value.hint}"


def test_folders_that_are_damaged(published, tmp_path):
    own = Model(**SMALL).config(2)
    with pytest.raises(NotFoundError, match="no folder"):
        mask2former.check(read(tmp_path, f"model.weights={tmp_path / 'none'}"))
    with pytest.raises(FormatError, match=r"no config.json with model.safetensors"):
        stored(tmp_path, own)
    config, weights = published[0] / "config.json", (published[0] / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_text(config.read_text())
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(FormatError, match="can't be read"):
        stored(tmp_path, own)
    from safetensors.torch import load_file, save_file

    some = load_file(published[0] / "model.safetensors")
    save_file(
        {name: v for name, v in some.items() if "queries" not in name}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(FormatError, match="lacks 2 weights, such as model.transformer_module.queries"):
        stored(tmp_path, own)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="is no JSON"):
        stored(tmp_path, own)


# ---- as a user has it


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.patch=[1,64,48]"], ["no patch of slices", "multiples of 32 from 64 on", "[1,256,256]"]),
        (["train.patch=[1,32,32]"], ["from 64 on"]),
        (["train.patch=[8,64,64]"], ["one voxel along z"]),
        (["train.patch=null"], ["None"]),
        (["target.kind=flows"], ["predicts masks", "-s target.kind=instances"]),
        (["target.kind=spheres"], ["predicts masks"]),
        (["instances.views=averaged"], ["three views", "-s instances.views=stitched"]),
        (["inference.tta=4"], ["orientations", "-s inference.tta=1"]),
    ],
)
def test_refusals(tmp_path, settings, words):
    with pytest.raises(UsageError) as failed:
        mask2former.check(read(tmp_path, *settings))
    assert all(word in f"{failed.value.message} {failed.value.hint}" for word in words)


def test_what_it_takes(tmp_path):
    mask2former.check(read(tmp_path))
    mask2former.check(read(tmp_path, "model.width=64", "train.patch=[1,32,96]"))
    mask2former.check(read(tmp_path, "model.enlarge=4", "train.patch=[1,16,24]"))


def test_two_steps_and_back(project, published, tmp_path, popsicle):
    """From published weights, which needn't be there afterwards."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((published[0] / name).read_bytes())
    best = trained(project, tmp_path, f"model.weights={folder}")
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    predictor = registry.load(best, "cpu")
    assert type(predictor) is Queried
    volume = np.random.default_rng(0).normal(size=(3, 70, 80)).astype(np.float32)
    found, _ = predict_instances(predictor, volume, 10.0, "here", lambda spacing: Decoding(foreground=0.0, stitch=0.2))
    assert found.ids.shape == volume.shape
    assert set(found.objects.tolist()) <= {0, 1, 2, 5}
    (z0, slab), *_ = predictor.slabs(volume)
    assert (z0, slab.shape[0], slab.shape[2:]) == (0, 4, (70, 80))
    np.testing.assert_allclose(slab.astype(float).sum(axis=0), 1, atol=5e-3)
    asked = ("segment", best, "-c", project.config, "-i", "wbp@10.0", "-r", "B", "--device", "cpu")
    everything = ("-s", "instances.foreground=0")
    whole = popsicle.json(*asked, "-o", "cells:two/1?panoptic=true", *everything)
    each = popsicle.json(*asked, "-o", ":two/1?instance=true", *everything)
    assert whole["runs"][0]["counts"] == each["runs"][0]["counts"]
    assert popsicle.json(*asked, "-o", "cells:two/1?multilabel=true")["runs"][0]["status"] == "done"
    assert popsicle.json("models", "show", best)["parameters"] > 100_000
    averaged = popsicle(*asked, "-o", "cells:three/1?panoptic=true", "--tta", "4", code=1)
    assert "can't be averaged over orientations" in averaged.stderr


class Stopped(Exception):
    """What interrupts a training."""


def test_resumed_equals_uninterrupted(project, tmp_path):
    more = ("train.steps_per_epoch=3", "train.checkpoint_every=1", "validation_split=null", "model.drop_path=0.3")
    trained(project, tmp_path, *more)

    def stop(done, total):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        trained(project, tmp_path, *more, out="stopped", progress=stop)
    trained(project, tmp_path, *more, out="stopped", resume=True)
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (weights_of(tmp_path / out / name)["network"] for out in ("out", "stopped"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_damaged_checkpoint(project, tmp_path):
    best = trained(project, tmp_path, "validation_split=null", "train.steps_per_epoch=1")
    document = weights_of(best)
    document["network"].pop("network.class_predictor.bias")
    torch.save(document, tmp_path / "less.ckpt")
    with pytest.raises(PopsicleError, match="don't fit"):
        registry.load(tmp_path / "less.ckpt", "cpu")


@pytest.mark.slow
def test_it_finds_what_it_has_learned(project, tmp_path, popsicle):
    """Four objects of two kinds, in under a minute."""
    steps = (
        "train.epochs=1",
        "train.steps_per_epoch=150",
        "optimizer.lr=3e-3",
        "optimizer.clip=1",
        "model.drop_path=0",
    )
    more = ("augment={noise: 0, contrast: 0, flip_yx: 0, quarter_turn: 0}", "train.ema=0.95")
    flags = [part for setting in (*SETTINGS, *steps, *more) for part in ("-s", setting)]
    popsicle("train", recipe(tmp_path), "-c", project.config, "--out", tmp_path / "run", *flags, "--device", "cpu")
    asked = ("-c", project.config, "-i", "wbp@10.0", "-o", "cells:m2f/1?panoptic=true", "-r", "B", "--device", "cpu")
    found = popsicle.json("segment", tmp_path / "run" / "best.ckpt", *asked)
    assert found["runs"][0]["counts"] == {"vesicle": 2, "mito": 2, "er": 0}
    stored_there = read_segmentation(open_project(project.config), "B", segmentation_uri("cells:m2f/1?panoptic=true"))
    labels, ids = (stored_there.of_channel(channel).numpy() for channel in ("label", "instance"))
    truth = scene()
    for label, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
        wanted = (truth[0] == label) & (truth[1] == number)
        seen = ids[wanted & (labels == label)]
        own = (labels == label) & (ids == np.bincount(seen).argmax())
        assert (own & wanted).sum() / (own | wanted).sum() > 0.8
    task = ("--task", tmp_path / "cells.yaml")
    scored = popsicle.json("evaluate", "-c", project.config, "-i", "cells:m2f/1?panoptic=true", *task, "-r", "B")
    assert scored["objects"]["vesicle"]["ap50"] == scored["objects"]["mito"]["ap50"] == 1
