"""Cellpose-SAM's network: what it takes and refuses, what it starts from, and that it learns and goes on as if never stopped."""

import math
import sys

import families
import numpy as np
import pytest
import torch
from training.cells import annotated, cells, recipe

pytest.importorskip("transformers")

from transformers import SamConfig, SamModel

from copick_tools.engines import cellpose_sam, lora, registry
from copick_tools.engines.cellpose_sam import FlowViT, Model, build, read_out, start
from copick_tools.engines.vit import stored
from copick_tools.engines.vit.names import POSITIONS, SHARED, renamed, renamed_back
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.inference.mapped import predict_maps
from copick_tools.inference.tiler import Tiled
from copick_tools.inference.views import Views
from copick_tools.recipes.load import load_recipe
from copick_tools.training.checkpoint import read as read_checkpoint
from copick_tools.volumes.normalize import SPREAD
from copick_tools.workflows.train import plan_training, train

SIZES = {"width": 16, "depth": 2, "heads": 2, "features": 8}
TINY = "model={family: cellpose-sam, width: 16, depth: 2, heads: 2, features: 8, image: 16MORE}"


def shaken(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for weights in network.parameters():
        weights.data = torch.randn(weights.shape, generator=generator) / max(4.0, weights[0].numel() ** 0.5)
    return network.eval()


def small(outputs=5, **more):
    return shaken(build(Model(**SIZES, image=32, **more), outputs))


def settings(more="", *others):
    return (TINY.replace("MORE", more), "train.patch=[1,16,16]", *others)


def cpsam(path, network=None, patch=8):
    """A file as Cellpose-SAM's, of an encoder for three channels and maps of flow y, flow x and probability."""
    network = network or FlowViT(Model(**SIZES, image=32), 3)
    shaken(network)
    whole = renamed_back({f"vision_encoder.{k}": v for k, v in network.encoder.state_dict().items()})
    found = {name.removeprefix("image_"): value for name, value in whole.items()}
    gray = found["encoder.patch_embed.proj.weight"]
    found["encoder.patch_embed.proj.weight"] = torch.cat([gray, torch.randn(len(gray), 2, patch, patch)], dim=1)
    found |= {f"out.{part}": getattr(network.readout, part).data for part in ("weight", "bias")}
    count = 3 * patch * patch
    found |= {"W2": torch.eye(count).reshape(count, 3, patch, patch), "diam_mean": torch.tensor([30.0])}
    torch.save(found | {"diam_labels": torch.tensor([30.0])}, path)
    return network


def sam(**sizes):
    """transformers' SAM with random weights, patches of 16 in images of 128."""
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "output_channels": 8,
        "image_size": 128,
    }
    vision |= {"num_pos_feats": 8, "window_size": 3, "global_attn_indexes": [1], **sizes}
    prompts, decoder = (
        {"hidden_size": 16, "image_size": 128},
        {"hidden_size": 16, "mlp_dim": 8, "num_attention_heads": 2},
    )
    return shaken(SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)))


def test_every_patch_becomes_its_pixels():
    network = small(outputs=2)
    with torch.no_grad():
        windows = torch.randn(3, 1, 1, 32, 40)
        found = network(windows)
        tokens = network.encoder.patch_embed.projection(windows.squeeze(2) / (2 * SPREAD) + 0.5)
        assert tokens.shape == (3, 16, 4, 5)
        image = windows[:, :, 0, :, :32] / (2 * SPREAD) + 0.5
        features = network.encoder(image).last_hidden_state  # transformers' own way through all blocks
        maps = network.readout(features).reshape(3, 2, 8, 8, 4, 4)
        wanted = maps.permute(0, 1, 4, 2, 5, 3).reshape(3, 2, 32, 32)
        torch.testing.assert_close(network(windows[..., :32]).squeeze(2), wanted, atol=1e-5, rtol=1e-5)
    assert found.shape == (3, 2, 1, 32, 40)


def test_sizes_of_the_paper():
    parameters, held = families.sizes(cellpose_sam, Model(), outputs=3)
    assert 304e6 < parameters < 306e6  # a ViT-L
    assert parameters == held


def test_blocks_are_left_out_in_training_alone():
    network, windows = small(layer_drop=0.9), torch.randn(1, 1, 1, 32, 32).expand(40, -1, -1, -1, -1)
    with torch.no_grad():
        whole = network(windows)
        network.train()
        torch.manual_seed(1)
        found = network(windows)
        torch.manual_seed(1)
        assert torch.equal(network(windows), found)
        same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(found, whole)]
        without = network.encoder.layers.__class__([network.encoder.layers[0]])
        network.encoder.layers = without
        shorter = network.eval()(windows)
    assert 0 < sum(same) < 15  # of 40 images a tenth goes through the last block; the first is never left out
    left = [one for one, was in zip(found, same) if not was]
    torch.testing.assert_close(torch.stack(left), shorter[: len(left)], atol=1e-5, rtol=1e-5)
    frozen = small(layer_drop=0.9, frozen=["encoder"]).train()
    assert torch.equal(frozen(windows), frozen(windows))


@pytest.mark.parametrize(("more", "learns"), [("frozen", ("readout",)), ("lora", ("readout", "lora_"))])
def test_what_does_not_learn(more, learns):
    settings = {more: ["encoder"] if more == "frozen" else 2}
    network = small(**settings)
    cellpose_sam.limit(network, Model(**{**SIZES, **settings}))
    named = [name for name, weights in network.named_parameters() if weights.requires_grad]
    assert named
    assert all(any(part in name for part in learns) for name in named)
    assert all(any(part in name for name in named) for part in learns)


def test_adapters_are_loaded_without_peft(monkeypatch):
    adapted, plain = small(lora=2), small()
    cellpose_sam.limit(adapted, Model(**SIZES, lora=2))
    for name, weights in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.1)
    monkeypatch.setitem(sys.modules, "peft", None)
    lora.take_adapted(plain)
    plain.load_state_dict(adapted.state_dict())
    windows = torch.randn(2, 1, 1, 16, 24)
    with torch.no_grad():
        found, wanted = plain.eval()(windows), adapted.eval()(windows)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, small().eval()(windows), atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.patch=[8,16,16]"], ["no patch of slices", "[1,16,16]"]),
        (["train.patch=[1,16,20]"], ["multiples of 8"]),
        (["train.patch=[1,16,24]", "inference.tta=16"], ["square in the plane"]),
        (["target.kind=distances"], ["averaged is for flows", "stitched"]),
    ],
)
def test_refusals(tmp_path, changes, words):
    with pytest.raises(UsageError) as failed:
        cellpose_sam.check(load_recipe(recipe(tmp_path), settings("", *changes)))
    assert all(word in f"{failed.value.message} {failed.value.hint}" for word in words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", heads: 3", "isn't a multiple of heads 3"),
        (", image: 20", "patch_size 8"),
        (", lora: 2, frozen: [encoder]", "lora"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, more, words):
    with pytest.raises(FormatError, match=words):
        cellpose_sam.check(
            load_recipe(recipe(tmp_path), (f"model={{family: cellpose-sam{more}}}", "train.patch=[1,16,16]"))
        )


def test_weights_that_do_not_fit_say_what_would(tmp_path):
    file = tmp_path / "cpsam"
    cpsam(file)
    with pytest.raises(UsageError) as failed:
        cellpose_sam.check(load_recipe(recipe(tmp_path), settings(f", depth: 3, weights: {file}")))
    assert "has depth 2, the recipe depth 3" in failed.value.message
    assert failed.value.hint == "-s model.depth=2"
    with pytest.raises(NotFoundError, match="no weights"):
        cellpose_sam.check(load_recipe(recipe(tmp_path), settings(f", weights: {file}2")))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(FormatError, match="damaged"):
        cellpose_sam.check(load_recipe(recipe(tmp_path), settings(f", weights: {file}")))


@pytest.mark.parametrize("objects", [1, 3])
def test_maps_of_objects_begin_as_cells_probability(tmp_path, objects):
    theirs = cpsam(tmp_path / "cpsam")
    weights = settings(f", image: 32, weights: {tmp_path / 'cpsam'}", "target.kind=flows")
    ours = start(load_recipe(recipe(tmp_path), weights), objects + 3).eval()
    windows = torch.randn(2, 1, 1, 32, 32)
    with torch.no_grad():
        y, x, cell = theirs(windows).unbind(dim=1)
        found = ours(windows)
    probabilities = found[:, : objects + 1].softmax(dim=1)
    torch.testing.assert_close(1 - probabilities[:, 0], cell.sigmoid(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[:, -2:], torch.stack([y, x], dim=1) / 5, atol=1e-5, rtol=1e-4)
    half = read_out((torch.ones(192, 8, 1, 1), torch.zeros(192)), 3, True)
    assert half["weight"][:192].unique().tolist() == [-0.5, 0.5]
    assert half["bias"].unique().tolist() == pytest.approx([-math.log(2), 0])


@pytest.mark.parametrize(("kind", "more"), [("segmentation", 0), ("distances", 2), ("boundary", 1)])
def test_another_target_takes_the_maps_of_objects_alone(tmp_path, kind, more):
    theirs = cpsam(tmp_path / "cpsam")
    weights = f", image: 32, weights: {tmp_path / 'cpsam'}"
    chosen = load_recipe(recipe(tmp_path), settings(weights, f"target.kind={kind}", "instances.views=stitched"))
    windows = torch.randn(2, 1, 1, 32, 32)
    with torch.no_grad():
        ours = start(chosen, 3 + more).eval()
        found, cell = ours(windows), theirs(windows)[:, 2]
    assert found.shape == (2, 3 + more, 1, 32, 32)
    probabilities = found[:, :3].softmax(dim=1)
    torch.testing.assert_close(1 - probabilities[:, 0], cell.sigmoid(), atol=1e-5, rtol=1e-4)
    assert not any(torch.equal(found[:, channel], found[:, 1]) for channel in range(3, 3 + more))  # those begin random


def test_names_there_and_back():
    weights = sam().state_dict()
    theirs = renamed_back(weights)
    assert {name.partition(".")[0] for name in theirs} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert POSITIONS in theirs
    assert not set(SHARED) & set(theirs)
    again = renamed(theirs)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in set(weights) - set(SHARED))
    assert "image_encoder.blocks.1.attn.rel_pos_h" in theirs
    assert "mask_decoder.output_hypernetworks_mlps.3.layers.2.bias" in theirs
    with pytest.raises(FormatError, match="no weight of Segment Anything"):
        renamed({"image_encoder.blocks.0.adapter.weight": 1})


def test_sam_as_cellpose_takes_it(tmp_path):
    """Patches of 8, every second position, and a gray image as three equal channels by SAM's scale."""
    network = sam()
    torch.save(renamed_back(network.state_dict()), tmp_path / "sam_vit_x.pth")
    network.save_pretrained(tmp_path / "folder")
    found, folder = stored.read(tmp_path / "sam_vit_x.pth"), stored.read(tmp_path / "folder")
    assert found.readout is None
    assert found.sizes == folder.sizes == {**SIZES, "mlp_ratio": 4.0, "patch_size": 16, "image": 128}
    ours = stored.fitted(found, 8, 32)
    theirs = network.vision_encoder.state_dict()
    assert all(torch.equal(value, stored.fitted(folder, 8, 32)[name]) for name, value in ours.items())
    assert torch.equal(ours["pos_embed"], theirs["pos_embed"][:, ::2, ::2])
    assert ours["layers.0.attn.rel_pos_h"].shape == ours["layers.1.attn.rel_pos_w"].shape == (7, 8)
    gray = torch.rand(1, 1, 32, 32)
    mean, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (stored.MEAN, stored.DEVIATION))
    seen = (255 * gray.expand(1, 3, -1, -1) - mean) / scale
    weight, bias = (theirs[f"patch_embed.projection.{part}"] for part in ("weight", "bias"))
    wanted = torch.nn.functional.conv2d(seen, weight[:, :, ::2, ::2], bias, stride=8)
    mine = [ours[f"patch_embed.projection.{part}"] for part in ("weight", "bias")]
    torch.testing.assert_close(torch.nn.functional.conv2d(gray, *mine, stride=8), wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"encoder.cls_token": torch.zeros(1)}, "DINOv3"),
        ({"diam_mean": torch.zeros(1), "downsample.weight": torch.zeros(1)}, "Cellpose 3"),
        ({"W2": torch.zeros(320, 5, 8, 8), "encoder.x": torch.zeros(1), "out.weight": torch.zeros(1), "out.bias": torch.zeros(1)},
         "5 maps"),
        ({"W2": torch.zeros(1, 3, 1, 1), "encoder.x": torch.zeros(1)}, "no out.weight"),
        ({"something": torch.zeros(1)}, "no image encoder"),
    ],
)  # fmt: skip
def test_files_of_something_else(tmp_path, content, words):
    torch.save(content, tmp_path / "file")
    with pytest.raises(FormatError, match=words):
        stored.read(tmp_path / "file")


def test_positions_fit_other_grids():
    grid = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert stored.positions(grid, (4, 4)) is grid
    assert stored.positions(grid, (2, 2)).flatten().tolist() == [0, 2, 8, 10]
    assert stored.positions(grid, (3, 5)).shape == (1, 3, 5, 1)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (["target.kind=flows"], Views),
        (
            [
                "target.kind=flows",
                "instances.views=stitched",
                "model.lora=2",
                "scaling=percentiles",
                "validation_split=null",
            ],
            Tiled,
        ),
        (["target.kind=flows", "model.frozen=[encoder]", "loss.balanced=true", "validation_split=null"], Views),
    ],
)
def test_two_steps_and_back(tmp_path, more, kind):
    project = cells(tmp_path, A=annotated(0), B=annotated(1)[:, :6, :16, :20])
    plan = plan_training(project, recipe(tmp_path), settings("", *more), tmp_path / "out")
    best, done = train(project, plan, lambda done, total: None, device="cpu")
    assert done
    predictor = registry.load(best, "cpu")
    assert type(predictor) is kind
    assert predictor.scaling == ("percentiles" if "scaling=percentiles" in more else "deviations")
    volume = np.random.default_rng(0).normal(size=(5, 20, 24)).astype(np.float32)
    found = predict_maps(predictor, volume, 10.0, "here").maps
    assert found.labels.shape == (5, 20, 24)
    assert set(np.unique(found.labels)) <= {0, 1, 2, 5}
    assert len(found.geometry) == 3
    one = predict_maps(predictor, volume[:1], 10.0, "here").maps
    assert one.labels.shape == (1, 20, 24)
    assert not one.geometry[0].any()


@pytest.mark.slow
def test_fine_tuning_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    cpsam(tmp_path / "cpsam")
    project = cells(tmp_path)
    chosen = settings(
        f", weights: {tmp_path / 'cpsam'}",
        "train.epochs=2",
        "train.checkpoint_every=1",
        "optimizer.lr=0.001",
        "validation_split=null",
    )
    plans = [plan_training(project, recipe(tmp_path), chosen, tmp_path / name) for name in ("once", "twice")]
    once, _ = train(project, plans[0], lambda done, total: None, device="cpu")

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(project, plans[1], stop, device="cpu")
    twice, _ = train(project, plans[1], lambda done, total: None, device="cpu", resume=True)
    first, second = (read_checkpoint(path.with_name("last.ckpt"))[1]["network"] for path in (once, twice))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    begun = start(plans[0].recipe, 6).state_dict()
    away = max(float((value - begun[name]).abs().max()) for name, value in first.items())
    assert 0 < away < 0.05
    (tmp_path / "cpsam").unlink()
    registry.load(once, "cpu")  # knows its weights itself


def test_loss_falls():
    torch.manual_seed(0)

    class Flat(torch.nn.Module):
        """Slices as a batch."""

        def __init__(self):
            super().__init__()
            self.network = build(Model(width=32, depth=2, heads=2, features=16, image=16, layer_drop=0.1), 2)

        def forward(self, x):
            batch, _, depth, *sides = x.shape
            found = self.network(x.movedim(2, 1).reshape(batch * depth, 1, 1, *sides))
            return found.reshape(batch, depth, 2, *sides).movedim(1, 2)

    losses = families.falling(Flat(), (8, 16, 16), 30, 3e-3)
    assert losses[-1] < 0.7 * losses[0]
