"""A model that Octopi trained predicts here what MONAI makes of its weights."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import yaml
from foreign import OCTOPI, Malicious, octopi_folder, probabilities, shaken
from monai.inferers import SlidingWindowInferer
from monai.networks import nets
from monai.transforms import NormalizeIntensity

from copick_tools.engines import registry
from copick_tools.engines.adopt.adopt import adopt, kind_of
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.recipes.load import load_task
from copick_tools.training.checkpoint import read, save
from copick_tools.workflows.adopt import stated

SEG = {"init_filters": 8, "blocks_down": (1, 1, 2, 2), "blocks_up": (1, 1, 1), "act": "prelu", "norm": "instance"}
DYN = {
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [8, 8, 16],
    "dropout": 0.1,
}
SWIN = {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [3, 6, 12, 24]}
SWIN |= {"drop_rate": 0.1, "attn_drop_rate": 0.1, "dropout_path_rate": 0.1}
MED = {"init_filters": 4, "encoder_expansion_ratio": 2, "decoder_expansion_ratio": 2, "bottleneck_expansion_ratio": 2}
MED |= {"kernel_size": 3, "norm_type": "group", "global_resp_norm": True}
MED |= {"blocks_down": [1, 1, 1], "blocks_bottleneck": 1, "blocks_up": [1, 1, 1]}
KNOWN = {"in_channels": 1, "out_channels": 3, "spatial_dims": 3}


def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shaken(nets.UNet(3, 1, 3, channels=[8, 16], strides=[2], num_res_units=1, dropout=0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return octopi_folder(tmp_path_factory.mktemp("octopi"), unet(), OCTOPI)


@pytest.fixture
def broken(tmp_path):
    """A folder of which a test changes one thing."""
    return octopi_folder(tmp_path / "octopi", unet(), OCTOPI)


def edited(folder, **changes):
    """With other values in the YAML, key by key: `model={...}`; None removes one."""
    path = folder / "model_config.yaml"
    document = yaml.safe_load(path.read_text())
    for part, values in changes.items():
        for key, value in values.items():
            if value is None:
                del document[part][key]
            else:
                document[part][key] = value
    path.write_text(yaml.safe_dump(document))
    return folder


def test_card(folder, shared_project, tmp_path):
    (out,) = adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project))
    card, tensors = read(out)
    assert list(tensors) == ["format", "network"]
    assert (card.channels, card.objects) == (("ribosome", "apo-ferritin"), {"ribosome": 1, "apo-ferritin": 2})
    assert (card.voxel_spacing, card.normalize, card.patch, card.origin) == (10.0, 0.0, (16, 16, 16), "Octopi")
    assert (card.recipe.family, card.recipe.inference.overlap, card.recipe.input) == ("octopi", 0.5, "wbp@10")
    assert (card.recipe.loss.name, card.recipe.loss.gamma) == ("focal", 1.5)
    assert card.recipe.target.radius_fraction == 0.7
    assert [(o.name, o.radius) for o in card.task.targets] == [("ribosome", 120), ("apo-ferritin", 60)]


def test_predicts_as_monai(folder, shared_project, tmp_path):
    (out,) = adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project))
    volume = np.random.default_rng(0).normal(3, 2, (24, 40, 32)).astype(np.float32)
    network, inferer = unet(), SlidingWindowInferer(16, 1, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        voxels = NormalizeIntensity()(torch.from_numpy(volume)[None])[None]
        expected = inferer(voxels, lambda window: torch.softmax(network(window), 1))[0].numpy()
    np.testing.assert_allclose(probabilities(registry.load(out, "cpu"), volume), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "model", "build", "family"),
    [
        ("AttentionUnet", {"channels": [8, 16], "strides": [2], "dropout": 0.1}, nets.AttentionUnet, None),
        ("DynUNet", {**DYN, "deep_supervision": True, "deep_supr_num": 1, "res_block": True}, nets.DynUNet, None),
        ("SegResNet", {**SEG, "dsdepth": 2, "upsample_mode": "deconv"}, nets.SegResNetDS, None),
        ("SwinUNETR", SWIN, nets.SwinUNETR, "swinunetr"),
        ("SwinUNETR", {**SWIN, "window_size": 5}, nets.SwinUNETR, None),
        ("MedNeXt", MED, nets.MedNeXt, None),
    ],
)
def test_every_architecture(name, model, build, family, shared_project, tmp_path):
    more = {"use_residual_connection": True} if name == "MedNeXt" else {}
    network = shaken(build(**KNOWN, **model, **more))
    side = 64 if name == "SwinUNETR" else 16
    written = {"architecture": name, "num_classes": 3, **model, "use_checkpoint": True, "dim_in": side}
    written = yaml.safe_load(yaml.safe_dump(written))  # Octopi's dumper writes tuples as lists too
    folder = octopi_folder(tmp_path / "octopi", network, written)
    (out,) = adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project))
    assert read(out)[0].recipe.family == (family or "copick_tools.engines.adopted")
    volume = np.random.default_rng(0).normal(3, 2, (side,) * 3).astype(np.float32)
    with torch.inference_mode():
        expected = torch.softmax(network(NormalizeIntensity()(torch.from_numpy(volume)[None])[None]), 1)[0].numpy()
    np.testing.assert_allclose(probabilities(registry.load(out, "cpu"), volume), expected, atol=2e-3)


def test_damaged_settings_of_a_network(shared_project, tmp_path):
    model = {"architecture": "AttentionUnet", "channels": [8, 16], "strides": [2], "dropout": 0.1}
    network = nets.AttentionUnet(3, 1, 3, channels=[8, 16], strides=[2], dropout=0.1)
    folder = octopi_folder(tmp_path / "octopi", network, {**model, "dim_in": 16, "num_classes": 3})
    (out,) = adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project))
    card, tensors = read(out)
    for arguments in ({"channels": [-8, 16], "strides": [2]}, {"in_channels": 1}, {"channels": None, "strides": 2}):
        card.recipe.model["arguments"] = arguments
        save(out, card, {"network": tensors["network"]})
        with pytest.raises(FormatError, match="AttentionUnet can't be built"):
            registry.load(out, "cpu")


def test_labels_are_matched_by_name(shared_project, recipe_path, tmp_path):
    labels = {"Apo_Ferritin": 1, "ribosome": 2}
    folder = octopi_folder(tmp_path / "octopi", unet(), OCTOPI, labels)
    for said in (stated(None, shared_project), stated(str(recipe_path.with_name("toy.yaml")), None)):
        (out,) = adopt(folder, tmp_path / "best.ckpt", said)
        assert list(read(out)[0].objects.items()) == [("apo-ferritin", 2), ("ribosome", 1)]
        assert read(out)[0].task.name == (said.task.name if said.task else "adopted")


def test_without_labels_the_channels_are_labels(shared_project, tmp_path):
    loader = {"voxel_size": 7.84, "tomo_algorithm": "wbp"}  # before Octopi knew several resolutions
    folder = octopi_folder(tmp_path / "octopi", unet(), OCTOPI, None, loader)
    (out,) = adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project))
    card, _ = read(out)
    assert (card.channels, card.voxel_spacing, card.recipe.input) == (("ribosome", "apo-ferritin"), 7.84, "wbp@7.84")


def test_objects_that_it_does_not_know_are_no_targets(tmp_path):
    model = {**OCTOPI, "num_classes": 2}
    network = nets.UNet(3, 1, 2, channels=[8, 16], strides=[2], num_res_units=1, dropout=0.1)
    folder = octopi_folder(tmp_path / "octopi", network, model, {"ribosome": 1})
    said = stated("phantom", None)
    (out,) = adopt(folder, tmp_path / "best.ckpt", said)
    card, _ = read(out)
    assert list(card.objects) == ["ribosome"]
    assert len(card.task.objects) == len(said.objects) == len(load_task("phantom").objects)


def test_weights_or_yaml_will_do_as_well(folder, shared_project, tmp_path):
    for path in (folder, folder / "best_model.pth", folder / "model_config.yaml"):
        assert kind_of(path) == "octopi"
        (out,) = adopt(path, tmp_path / "best.ckpt", stated(None, shared_project))
        assert read(out)[0].origin == "Octopi"


def test_names_on_the_hub(broken, shared_project, tmp_path):
    (broken / "model_config.yaml").rename(broken / "config.yaml")
    (broken / "best_model.pth").rename(broken / "weights.pth")
    assert kind_of(broken) == kind_of(broken / "weights.pth") == "octopi"
    assert adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project))


def test_equal_input_gives_equal_bytes(folder, shared_project, tmp_path):
    made = [adopt(folder, tmp_path / name, stated(None, shared_project))[0] for name in ("one.ckpt", "two.ckpt")]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_code_in_weights_is_never_run(broken, shared_project, tmp_path):
    torch.save({"model.0": Malicious(tmp_path / "victim")}, broken / "best_model.pth")
    with pytest.raises(FormatError, match=r"asks for \w+\.mkdir") as caught:
        adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project))
    assert "never run" in caught.value.hint
    assert not (tmp_path / "victim").exists()
    assert not (tmp_path / "best.ckpt").exists()


def test_truncated_and_foreign_weights(broken, shared_project, tmp_path):
    path = broken / "best_model.pth"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"no tensors at all", whole[:-40] + b"\0" * 40):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project))
    for content in ({}, [1, 2], {"epoch": 3}, torch.zeros(3)):
        torch.save(content, path)
        with pytest.raises(FormatError, match="no weights"):
            adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project))


def test_weights_of_another_network(broken, shared_project, tmp_path):
    said = stated(None, shared_project)
    for changes, match in (
        ({"channels": [8, 32]}, "not"),
        ({"channels": [8, 16, 16], "strides": [2, 1]}, "aren't there"),
        ({"channels": [8, 16], "strides": [2, 2]}, "strides"),
        ({"num_res_units": 0}, "aren't there|has no"),
    ):
        edited(broken, model={"channels": [8, 16], "strides": [2], "num_res_units": 1} | changes)
        with pytest.raises(FormatError, match=match):
            adopt(broken, tmp_path / "best.ckpt", said)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"model": {"architecture": "VNet"}}, FormatError, "unknown architecture 'VNet'"),
        ({"model": {"architecture": None}}, FormatError, "no model configuration"),
        ({"model": {"dim_in": None}}, FormatError, "model.dim_in is None"),
        ({"model": {"num_classes": 0}}, FormatError, "num_classes"),
        ({"model": {"channels": None}}, FormatError, "model.channels is missing"),
        ({"model": {"dropout": "much"}}, FormatError, "dropout"),
        ({"labels": {"virus": 3}}, FormatError, "3 labels, but 3 classes"),
        ({"labels": {"ribosome": 4}}, FormatError, "from 1 without gaps"),
        ({"labels": {"ribosome": "one"}}, FormatError, "mapping of names to numbers"),
        ({"dataloader": {"tomo_uris": ["wbp@10.0", "wbp@5.0"]}}, UsageError, "several voxel spacings: 10, 5"),
        ({"dataloader": {"tomo_uris": None, "voxel_size": None}}, UsageError, "at which voxel spacing"),
        ({"dataloader": {"tomo_uris": ["wbp@ten"]}}, FormatError, "no number"),
        ({"dataloader": {"tomo_uris": ["wbp@0"]}}, FormatError, "voxel spacing is 0"),
        ({"dataloader": {"tomo_uris": None, "voxel_size": 0}}, FormatError, "voxel spacing is 0"),
        ({"dataloader": {"tomo_uris": None, "voxel_size": float("nan")}}, FormatError, "voxel spacing is nan"),
        ({"dataloader": {"tomo_uris": 10.0}}, None, None),
        (
            {"model": {"architecture": "DynUNet", **DYN, "kernel_size": [float("inf")] * 3}},
            FormatError,
            "can't be built",
        ),
    ],
)
def test_bad_configurations(changes, error, match, broken, shared_project, tmp_path):
    edited(broken, **changes)
    with pytest.raises(error, match=match) if error else nullcontext():
        adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project))


def test_missing_files(broken, shared_project, tmp_path):
    said = stated(None, shared_project)
    (broken / "best_model.pth").rename(broken / "away")
    with pytest.raises(NotFoundError, match=r"no file .*best_model\.pth"):
        adopt(broken, tmp_path / "best.ckpt", said)
    (broken / "away").rename(broken / "best_model.pth")
    (broken / "model_config.yaml").unlink()
    with pytest.raises(NotFoundError, match=r"no file .*model_config\.yaml"):
        adopt(broken, tmp_path / "best.ckpt", said)


def test_objects_without_a_place(folder, shared_project, tmp_path):
    other = octopi_folder(tmp_path / "octopi", unet(), OCTOPI, {"ribosom": 1, "apo-ferritin": 2})
    with pytest.raises(NotFoundError, match="no object 'ribosom'") as caught:
        adopt(other, tmp_path / "best.ckpt", stated(None, shared_project))
    assert caught.value.hint == "did you mean ribosome?"
    octopi_folder(other, unet(), OCTOPI, {"ribosome": 1, "Ribosome": 2})
    with pytest.raises(FormatError, match="two channels are ribosome"):
        adopt(other, tmp_path / "best.ckpt", stated(None, shared_project))
    shared = stated(None, shared_project)
    bare = {
        name: type(entry)(entry.name, entry.label, None, True, entry.color) for name, entry in shared.objects.items()
    }
    with pytest.raises(FormatError, match="has no radius"):
        adopt(folder, tmp_path / "best.ckpt", type(shared)(bare, "there"))
    with pytest.raises(UsageError, match="aren't in another tool's files"):
        stated(None, None)


def test_stated_spacing(folder, broken, shared_project, tmp_path):
    with pytest.raises(UsageError, match="--voxel-spacing 5, but .* says 10 A"):
        adopt(folder, tmp_path / "best.ckpt", stated(None, shared_project, voxel_spacing=5.0))
    edited(broken, dataloader={"tomo_uris": ["wbp@10.0", "denoised@5.0"]})
    (out,) = adopt(broken, tmp_path / "best.ckpt", stated(None, shared_project, voxel_spacing=5.0, radius_fraction=0.8))
    card, _ = read(out)
    assert (card.voxel_spacing, card.recipe.input, card.recipe.target.radius_fraction) == (5.0, "denoised@5", 0.8)
