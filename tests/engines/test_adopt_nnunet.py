"""A model that nnU-Net trained predicts here what nnU-Net predicts with it."""

import copy
import subprocess
import sys

import nnunet_training
import numpy as np
import pytest
import torch
from foreign import PLAIN, Malicious, alone, nnunet_document, probabilities, results_folder, shaken

from copick_tools.data.read import read_tomogram
from copick_tools.data.uris import tomogram_uri
from copick_tools.engines import registry
from copick_tools.engines.adopt.adopt import adopt, kind_of, outputs
from copick_tools.engines.bridge.networks import unet
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.training.checkpoint import read
from copick_tools.workflows.adopt import stated

RESIDUAL = copy.deepcopy(PLAIN)
RESIDUAL["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
RESIDUAL["arch_kwargs"] |= {"n_blocks_per_stage": [1, 2, 2], "n_conv_per_stage_decoder": [1, 1]}
del RESIDUAL["arch_kwargs"]["n_conv_per_stage"]


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shaken(unet(PLAIN, 3, True))


@pytest.fixture(scope="module")
def document(network):
    return nnunet_document(network)


@pytest.fixture
def results(document, tmp_path):
    """A results folder of two folds."""
    return results_folder(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", {0: document, 1: document})


def test_cards_of_two_folds(results, shared_project, tmp_path):
    assert kind_of(results) == "nnunet"
    made = adopt(results, tmp_path / "best.ckpt", stated(None, shared_project))
    assert made == outputs(results, tmp_path / "best.ckpt")
    assert [path.name for path in made] == ["best-fold_0.ckpt", "best-fold_1.ckpt"]
    card, tensors = read(made[1])
    assert list(card.objects.items()) == [("ribosome", 1), ("apo-ferritin", 2)]
    assert (card.voxel_spacing, card.patch, card.normalize) == (10.0, (16, 32, 32), 0.0)
    assert (card.recipe.family, card.recipe.inference.overlap, card.recipe.inference.tta) == ("nnunet", 0.5, 1)
    assert card.origin == "nnU-Net (nnUNetTrainer, 3d_fullres, fold 0)"
    assert card.plan["mirror_axes"] == [0, 1, 2]
    assert sum(tensor.numel() for tensor in tensors["network"].values()) > 10000
    predictor = registry.load(made[0], "cpu")
    assert (predictor.rules, predictor.patch, predictor.overlap) == ("nnunet", (16, 32, 32), 0.5)


def test_one_window_is_the_network(document, network, shared_project, tmp_path):
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    volume = np.random.default_rng(0).normal(3, 2, (16, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        voxels = torch.from_numpy((volume - volume.mean()) / volume.std())[None, None]
        expected = torch.softmax(network(voxels)[0], 1)[0].numpy()
    np.testing.assert_allclose(probabilities(registry.load(out, "cpu"), volume), expected, atol=2e-3)


def test_any_part_of_the_results_will_do(results, shared_project, tmp_path):
    said = stated(None, shared_project)
    for path in (results / "fold_1", results / "fold_1/checkpoint_final.pth"):
        assert kind_of(path) == "nnunet"
        assert adopt(path, tmp_path / "best.ckpt", said) == (tmp_path / "best.ckpt",)
    (results / "fold_1/checkpoint_final.pth").rename(results / "fold_1/checkpoint_best.pth")
    assert len(adopt(results, tmp_path / "best.ckpt", said)) == 2
    (results / "fold_1/checkpoint_best.pth").rename(results / "fold_1/checkpoint_latest.pth")
    assert adopt(results, tmp_path / "one.ckpt", said) == (tmp_path / "one.ckpt",)


def test_training_on_all_data_is_no_fold(document, shared_project, tmp_path, caplog):
    """nnU-Net itself leaves fold_all out where there are numbered folds."""
    results, said = (
        results_folder(tmp_path / "results", {0: document, 1: document, "all": document}),
        stated(None, shared_project),
    )
    made = adopt(results, tmp_path / "best.ckpt", said)
    assert [path.name for path in made] == ["best-fold_0.ckpt", "best-fold_1.ckpt"]
    assert "fold_all" in caplog.text
    assert adopt(results / "fold_all", tmp_path / "all.ckpt", said) == (tmp_path / "all.ckpt",)
    for fold in (0, 1):
        (results / f"fold_{fold}/checkpoint_final.pth").unlink()
    assert adopt(results, tmp_path / "alone.ckpt", said) == (tmp_path / "alone.ckpt",)


def test_all_folds_or_none(results, document, shared_project, tmp_path):
    said, out = stated(None, shared_project), tmp_path / "out/best.ckpt"
    torch.save({**document, "network_weights": None}, results / "fold_1/checkpoint_final.pth")
    with pytest.raises(FormatError, match="no weights"):
        adopt(results, out, said)
    assert not list(out.parent.glob("*"))
    out.with_name("best-fold_0.ckpt").write_text("was there before")
    with pytest.raises(FormatError, match="no weights"):
        adopt(results, out, said)
    assert [path.read_text() for path in out.parent.glob("*")] == ["was there before"]


def test_residual_encoder(shared_project, tmp_path):
    document = nnunet_document(unet(RESIDUAL, 3, True), architecture=RESIDUAL)
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    card, _ = read(out)
    assert (card.recipe.family, card.recipe.model["blocks"]) == ("nnunet-resenc", [1, 2, 2])
    assert registry.load(out, "cpu").rules == "nnunet"


def test_plans_from_before_2_4(network, shared_project, tmp_path):
    document = nnunet_document(network)
    chosen = document["init_args"]["plans"]["configurations"]["3d_fullres"]
    del chosen["architecture"]
    chosen |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3]] * 3,
    }
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    assert read(out)[0].plan["architecture"] == PLAIN


def test_configurations_inherit(network, shared_project, tmp_path):
    document = nnunet_document(network)
    plans = document["init_args"]["plans"]
    plans["configurations"]["small"] = {"inherits_from": "3d_fullres", "patch_size": [16, 16, 16]}
    document["init_args"]["configuration"] = "small"
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    assert read(out)[0].patch == (16, 16, 16)
    plans["configurations"]["small"]["inherits_from"] = "small"
    with pytest.raises(FormatError, match="no configuration small"):
        adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"dataset": {"channel_names": {"0": "a", "1": "b"}}}, "2 input channels"),
        ({"patch_size": [64, 64]}, "patches have 2 axes"),
        ({"previous_stage": "3d_lowres"}, "cascade"),
        ({"plans": {"transpose_forward": [2, 0, 1]}}, r"turns the axes to \[2, 0, 1\]"),
        ({"normalization_schemes": ["CTNormalization"]}, "normalized by CTNormalization"),
        ({"normalization_schemes": ["NoNormalization"]}, "normalized by NoNormalization"),
        ({"use_mask_for_norm": [True]}, "within a mask"),
        ({"preprocessor_name": "MyPreprocessor"}, "prepared by MyPreprocessor"),
        ({"spacing": [20.0, 10.0, 10.0]}, "aren't cubes"),
        ({"spacing": [0, 0, 0]}, "voxel spacing is 0"),
        ({"spacing": [float("nan")] * 3}, "voxel spacing is nan"),
        ({"spacing": [10.0, 10.0, -10.0]}, "voxel spacing is -10"),
        ({"spacing": "ten"}, "spacing: Input should be a valid list"),
        ({"batch_size": None}, "batch_size: Input should be a valid integer"),
        ({"patch_size": [16, None, 16]}, r"patch_size\.1: Input should be a valid integer"),
        ({"normalization_schemes": None}, "normalization_schemes: "),
        ({"plans": {"transpose_forward": 0}}, "transpose_forward: "),
        ({"plans": {"configurations": []}}, "configurations: "),
        ({"dataset": {"channel_names": 1}}, "channel_names"),
        ({"architecture": "UNet"}, "architecture: "),
        (
            {"architecture": {**PLAIN, "arch_kwargs": {**PLAIN["arch_kwargs"], "features_per_stage": [-4, 8, 16]}}},
            "can't be built",
        ),
        ({"labels": {"background": 0, "all": [1, 2], "Ribosome": 2}}, "regions"),
        ({"dataset": {"regions_class_order": [1, 2]}}, "regions"),
        ({"labels": {}}, "no labels"),
        ({"labels": {"background": 0, "Ribosome": 1, "apo_ferritin": 3}}, "without gaps"),
        ({"labels": {"background": 0, "Ribosome": "one"}}, "no number"),
        ({"labels": {"background": [], "Ribosome": 1}}, "no number"),
        ({"architecture": {**PLAIN, "network_class_name": "os.system"}}, "its network is system"),
        ({"trainer": "nnUNetTrainerBN", "architecture": RESIDUAL}, "as nnUNetTrainerBN builds it"),
    ],
)
def test_refused(given, match, network, shared_project, tmp_path):
    document = nnunet_document(network, **given)
    with pytest.raises(FormatError, match=match):
        adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    assert not (tmp_path / "best.ckpt").exists()


def test_plans_name_no_code(network, shared_project, tmp_path):
    for key in ("nonlin", "conv_op", "norm_op"):
        architecture = copy.deepcopy(PLAIN)
        architecture["arch_kwargs"][key] = "os.mkdir"
        document = nnunet_document(network, architecture=architecture)
        with pytest.raises(FormatError, match="can't be built"):
            adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))


def test_code_in_a_checkpoint_is_never_run(results, document, shared_project, tmp_path):
    for where in ("logging", "init_args"):
        torch.save({**document, where: Malicious(tmp_path / "victim")}, results / "fold_1/checkpoint_final.pth")
        with pytest.raises(FormatError, match=r"asks for \w+\.mkdir"):
            adopt(results, tmp_path / "best.ckpt", stated(None, shared_project))
        assert not (tmp_path / "victim").exists()


def test_damaged_files(results, document, shared_project, tmp_path):
    said, path = stated(None, shared_project), results / "fold_0/checkpoint_final.pth"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            adopt(results, tmp_path / "best.ckpt", said)
    torch.save({"state_dict": document["network_weights"]}, path)
    with pytest.raises(FormatError, match="no checkpoint of nnU-Net v2"):
        adopt(results, tmp_path / "best.ckpt", said)
    torch.save({**document, "network_weights": None}, path)
    with pytest.raises(FormatError, match="no weights"):
        adopt(results, tmp_path / "best.ckpt", said)
    path.write_bytes(whole)
    (results / "plans.json").write_text("{")
    with pytest.raises(FormatError, match=r"plans\.json is no JSON"):
        adopt(results, tmp_path / "best.ckpt", said)
    (results / "plans.json").write_text("[]")
    with pytest.raises(FormatError, match=r"plans\.json"):
        adopt(results, tmp_path / "best.ckpt", said)


def test_wrong_folders(results, shared_project, tmp_path):
    said = stated(None, shared_project)
    for fold in (0, 1):
        (results / f"fold_{fold}/checkpoint_final.pth").unlink()
    with pytest.raises(NotFoundError, match=r"no checkpoint_final\.pth or checkpoint_best\.pth"):
        adopt(results, tmp_path / "best.ckpt", said)
    with pytest.raises(FormatError, match="no model of Octopi, nnU-Net") as caught:
        adopt(results.parent, tmp_path / "best.ckpt", said)
    assert results.name in caught.value.hint
    with pytest.raises(NotFoundError, match="no file or folder"):
        adopt(tmp_path / "nowhere", tmp_path / "best.ckpt", said)


def test_spacing_and_its_unit(network, shared_project, tmp_path):
    def spacing(planned, **known):
        document = nnunet_document(network, spacing=[planned] * 3)
        (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project, **known))
        return read(out)[0].voxel_spacing

    assert spacing(7.84) == 7.84
    assert spacing(1.0, voxel_spacing=10.0) == 10.0
    assert spacing(1.0012, likely=10.012) == 10.012  # as Octopi and copick-torch write it
    assert spacing(2.5, likely=2.5) == 2.5
    for planned, likely in ((1.0, None), (1.0, 10.0), (1.0012, None), (1.0012, 7.84)):
        with pytest.raises(UsageError, match="unknown unit"):
            spacing(planned, likely=likely)


def test_labels(network, shared_project, tmp_path):
    for labels in (
        {"background": 0, "2": 1, "1": 2, "ignore": 3},
        {"background": 0, "apo ferritin": [1], "RIBOSOME": 2},
    ):
        document = nnunet_document(network, labels=labels)
        (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
        assert list(read(out)[0].objects.items()) == [("apo-ferritin", 2), ("ribosome", 1)]
    document = nnunet_document(network, labels={"background": 0, "1": 1, "7": 2})
    with pytest.raises(NotFoundError, match="no object with label 7") as caught:
        adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    assert "ribosome (1)" in caught.value.hint


@pytest.mark.slow
def test_predicts_as_nnunet(shared_project, tmp_path):
    """With what nnU-Net's own trainer wrote, the numbers that nnU-Net's own predictor finds."""
    volumes = {run: read_tomogram(shared_project, run, tomogram_uri("wbp")).numpy() for run in ("TS_1", "TS_2", "TS_3")}
    labels = {f"{run}_labels": (volume < -1).astype(np.uint8) + (volume < -2.5) for run, volume in volumes.items()}
    np.savez(tmp_path / "cases.npz", **volumes, **labels, asked=volumes["TS_3"])
    script = [sys.executable, "-W", "ignore", nnunet_training.__file__, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    expected, seen = np.load(tmp_path / "expected.npz"), 0
    for results in sorted((tmp_path / "nnUNet_results" / nnunet_training.DATASET).iterdir()):
        said = stated(None, shared_project, voxel_spacing=10.0)
        for fold, out in enumerate(adopt(results, tmp_path / f"{results.name}.ckpt", said)):
            found = probabilities(registry.load(out, "cpu"), volumes["TS_3"])
            off = np.abs(found - expected[f"{results.name.split('__')[1]}_{fold}"]).max(axis=0)
            # nnU-Net sums in half precision, in which the weights at a window's corners are nothing
            assert off.mean() < 1e-3
            assert np.quantile(off, 0.99) < 0.02
            seen += 1
    assert seen == 3
