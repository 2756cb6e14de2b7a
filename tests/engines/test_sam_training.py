"""Promptable models by recipe: trained, kept, loaded, asked; and started from what others published."""

import json
import shutil

import numpy as np
import pytest
import torch
from engines.prompting import asked, config, disc, network
from training.cells import NAMES, cells, recipe

from copick_tools.engines import registry, sam, sam2
from copick_tools.engines.promptable.family import start
from copick_tools.engines.promptable.predictor import PromptableTiled
from copick_tools.engines.vit.names import renamed_back
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.inference.mapped import predict_maps
from copick_tools.recipes.load import dump_yaml, load_recipe
from copick_tools.training import checkpoint
from copick_tools.workflows.train import plan_training, train

KINDS = {"sam": "sam", "sam2": "sam2_video"}
SMALL = ("train.patch=[1,28,28]", "inference.overlap=0", "instances.views=stitched")
IMAGE = np.random.default_rng(0).normal(size=(28, 32)).astype(np.float32)
BOX = np.array([[4, 4, 20, 20]])


class Stop(Exception):
    """Ends a training."""


def model(family, **more):
    values = {"family": family, "config": config(KINDS[family]), "iterations": 2, "smallest": 4, "objects_per_image": 2}
    return f"model={json.dumps({**values, **more})}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def learned(project, tmp_path_factory):
    """Makes a checkpoint of two steps with these settings, once."""
    folder, found = tmp_path_factory.mktemp("recipes"), {}

    def make(*settings):
        if settings not in found:
            plan = plan_training(project, recipe(folder), (*SMALL, *settings), folder / str(len(found)), device="cpu")
            found[settings] = train(project, plan, lambda done, total: None, device="cpu")[0]
        return found[settings]

    return make


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("sam", "distances"),
        ("sam2", "instances"),
        pytest.param("sam", "instances", marks=pytest.mark.slow),
        pytest.param("sam2", "distances", marks=pytest.mark.slow),
    ],
)
def test_train_keep_load_ask(learned, family, kind):
    best = learned(model(family), f"target.kind={kind}")
    predictor = registry.load(best, "cpu")
    assert type(predictor) is PromptableTiled
    assert (predictor.follower is None) == (family == "sam")
    embedding = predictor.promptable.encode(IMAGE)
    answer = predictor.promptable.predict(embedding, boxes=BOX)
    assert answer.masks.shape == (1, 1, 28, 32)
    volume = np.random.default_rng(1).normal(size=(5, 28, 32)).astype(np.float32)
    if kind == "distances":
        found = predict_maps(predictor, volume, 10.0, "here")
        assert found.maps.labels.shape == (5, 28, 32)
        assert found.maps.geometry.shape == (2, 5, 28, 32)
        assert set(np.unique(found.maps.labels)) <= {0, *NAMES.values()}
    else:
        with pytest.raises(UsageError, match="says nothing of each voxel"):
            next(predictor.slabs(volume))
    if predictor.follower:
        mask = disc((28, 32), (12, 12), 6)[None]
        slices = [predictor.promptable.encode(plane) for plane in volume]
        assert [z for z, _ in predictor.follower.follow(slices, 2, mask, -1)] == [1, 0]
    card = checkpoint.read_card(best)
    assert 0 <= card.score <= 1
    assert card.recipe.model["config"] == config(KINDS[family])


@pytest.mark.slow
@pytest.mark.parametrize("family", KINDS)
def test_stopped_and_resumed_is_the_same(project, learned, tmp_path, family):
    best = learned(model(family), "target.kind=distances")
    settings = (*SMALL, model(family), "target.kind=distances")
    plan = plan_training(project, recipe(best.parent.parent), settings, tmp_path, device="cpu")

    def stop(done, total):
        if done == 1:
            raise Stop

    more = plan.recipe.train.model_copy(update={"checkpoint_every": 1})
    plan = type(plan)(plan.recipe.model_copy(update={"train": more}), *(plan.folder, plan.data, plan.memory))
    with pytest.raises(Stop):
        train(project, plan, stop, device="cpu")
    train(project, plan, lambda done, total: None, resume=True, device="cpu")
    whole, resumed = (checkpoint.read(folder / "last.ckpt")[1] for folder in (best.parent, tmp_path))
    for part in ("network", "ema"):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(whole[part][name], resumed[part][name]) for name in whole[part])


@pytest.mark.slow
def test_adapters_in_a_checkpoint_are_merged_when_it_is_loaded(learned):
    best = learned(model("sam", lora=2), "target.kind=instances", "optimizer.lr=0.1")
    _, tensors = checkpoint.read(best)
    assert any("lora_" in name for name in tensors["network"])
    predictor = registry.load(best, "cpu")
    assert not any("lora_" in name or "base_layer" in name for name in predictor.network.state_dict())
    plain = network("sam").state_dict()
    qkv = predictor.network.sam.state_dict()["vision_encoder.layers.0.attn.qkv.weight"]
    base = tensors["network"]["sam.vision_encoder.layers.0.attn.qkv.base_layer.weight"]
    assert qkv.shape == plain["vision_encoder.layers.0.attn.qkv.weight"].shape
    assert not torch.equal(qkv, base)


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory):
    """A family, and a folder as transformers writes it."""
    folder = tmp_path_factory.mktemp("published") / request.param
    network(KINDS[request.param], seed=3).save_pretrained(folder)
    return request.param, folder


@pytest.mark.slow
def test_a_training_starts_from_a_folder_that_its_checkpoint_can_do_without(project, published, tmp_path):
    family, folder = published
    here = tmp_path / "weights"
    shutil.copytree(folder, here)
    start = (*SMALL, f"model={{family: {family}, weights: {here}, iterations: 1}}", "target.kind=instances")
    settings = (*start, "optimizer.lr=1e-30", "optimizer.weight_decay=0", "train.ema=0")
    plan = plan_training(project, recipe(tmp_path), settings, tmp_path / "out", device="cpu")
    resolved = plan.recipe.model["config"]
    assert resolved["model_type"] == KINDS[family]
    best, _ = train(project, plan, lambda done, total: None, device="cpu")
    again = tmp_path / "again.yaml"  # the resolved recipe is valid input, and says the same
    again.write_text(dump_yaml(plan.recipe))
    assert plan_training(project, str(again), (), tmp_path / "out", device="cpu").recipe == plan.recipe
    shutil.rmtree(here)
    predictor = registry.load(best, "cpu")
    own = asked(KINDS[family])
    own = type(own)(network(KINDS[family], seed=3), own.device)
    expected = own.predict(own.encode(IMAGE), boxes=BOX)
    found = predictor.promptable.predict(predictor.promptable.encode(IMAGE), boxes=BOX)
    np.testing.assert_allclose(found.masks, expected.masks, atol=1e-5)


def test_a_file_of_segment_anything_is_the_same_model(project, tmp_path):
    whole = network("sam", seed=4)
    torch.save(renamed_back(whole.state_dict()), tmp_path / "sam_vit_tiny.pth")
    torch.save(
        {"model_state": {f"sam.{n}": v for n, v in renamed_back(whole.state_dict()).items()}}, tmp_path / "tuned.pt"
    )
    for name in ("sam_vit_tiny.pth", "tuned.pt"):
        model = sam.completed(sam.Model(weights=str(tmp_path / name)))
        vision = model.config["vision_config"]
        assert vision["hidden_size"] == 48
        assert (vision["global_attn_indexes"], vision["window_size"], vision["num_attention_heads"]) == ([1], 4, 3)
        chosen = load_recipe(
            recipe(tmp_path), (*SMALL, f"model={{family: sam, weights: {tmp_path / name}}}", "target.kind=instances")
        )
        started = start(chosen, model, 2)
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(started.sam.state_dict()[key], value)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (["train.patch=[8,24,24]"], UsageError, ["no patch of slices", "[1,64,64]"]),
        (["train.patch=null"], UsageError, ["no patch of slices"]),
        (["target.kind=segmentation"], UsageError, ["learns from instances", "distances"]),
        (["instances.views=averaged"], UsageError, ["views=stitched"]),
        (["train.patch=[1,24,16]", "inference.tta=16"], UsageError, ["square in the plane"]),
        ([model("sam", weights="nowhere", config={})], NotFoundError, ["no weights nowhere", "sam-vit-base"]),
        ([model("sam", lora=2, frozen=["image-encoder"])], FormatError, ["leave image-encoder out"]),
        ([model("sam", frozen=["encoder"])], FormatError, ["frozen"]),
        ([model("sam", config={"vision_config": {"width": 3}})], FormatError, ["no key 'width'"]),
        (["model={family: sam, preset: vit-x}"], FormatError, ["no preset 'vit-x'", "vit-b"]),
    ],
)
def test_refusals(project, tmp_path, settings, error, words):
    with pytest.raises(error) as failed:
        plan_training(
            project, recipe(tmp_path), (*SMALL, model("sam"), "target.kind=instances", *settings), tmp_path / "out"
        )
    said = f"{failed.value.message} {failed.value.hint}"
    assert all(word in said for word in words), said


def test_a_task_that_is_not_scored_by_instances_needs_maps(project, tmp_path):
    settings = (*SMALL, model("sam"), "target.kind=instances")
    with pytest.raises(UsageError, match="nothing is said of voxels"):
        sam.check(load_recipe(recipe(tmp_path, "dice"), settings))
    sam.check(load_recipe(recipe(tmp_path, "dice"), (*settings, "validation_split=null")))


def test_nothing_is_left_to_learn(project, tmp_path):
    everything = ["image-encoder", "prompt-encoder", "mask-decoder"]
    settings = (*SMALL, model("sam", frozen=everything), "target.kind=instances")
    plan = plan_training(project, recipe(tmp_path), settings, tmp_path / "out", device="cpu")
    with pytest.raises(UsageError, match="nothing to learn"):
        train(project, plan, lambda done, total: None, device="cpu")


def test_folders_that_are_no_such_model(tmp_path, published):
    family, folder = published
    other = {"sam": sam2, "sam2": sam}[family]
    with pytest.raises(FormatError, match="this family takes"):
        other.completed(other.Model(weights=str(folder)))
    engine = registry.engine(family)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(FormatError, match="can't be read"):
        _start(engine, broken, tmp_path)
    (broken / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FormatError, match="of type bert"):
        engine.completed(engine.Model(weights=str(broken)))
    (broken / "config.json").write_text("{")
    with pytest.raises(FormatError, match="is no JSON"):
        engine.completed(engine.Model(weights=str(broken)))
    (broken / "config.json").unlink()
    with pytest.raises(FormatError, match="no config.json"):
        engine.completed(engine.Model(weights=str(broken)))


def test_weights_of_another_configuration(tmp_path, published):
    family, folder = published
    engine = registry.engine(family)
    config = engine.completed(engine.Model(weights=str(folder))).config
    config["mask_decoder_config"] = {**config["mask_decoder_config"], "mlp_dim": 32}
    chosen = engine.Model(weights=str(folder), config=config)
    with pytest.raises(FormatError, match="mask_decoder_config.mlp_dim is 64, not 32"):
        _start(engine, folder, tmp_path, chosen)


def _start(engine, folder, tmp_path, chosen=None):
    chosen = chosen or engine.completed(engine.Model(weights=str(folder)))
    given = load_recipe(recipe(tmp_path), (*SMALL, "model={family: sam}", "target.kind=instances"))
    return start(given, chosen, 2)
