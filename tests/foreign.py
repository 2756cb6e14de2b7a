"""Files as Octopi and nnU-Net write them, and files that only look so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from copick_tools.inference.tiler import Tiled

OCTOPI = {
    "architecture": "Unet",
    "channels": [8, 16],
    "strides": [2],
    "num_res_units": 1,
    "dropout": 0.1,
    "dim_in": 16,
    "num_classes": 3,
}
LABELS = {"ribosome": 1, "apo-ferritin": 2}
LOADER = {
    "target_info": ["octopi", "1", "targets"],
    "tomo_uris": ["wbp@10.0"],
    "target_uris": ["targets:octopi/1@10.0"],
    "voxel_size": 10.0,
    "tomo_algorithm": ["wbp"],
    "background_ratio": 0.0,
    "config": "/data/config.json",
    "trainRunIDs": ["TS_1"],
    "valRunIDs": ["TS_2"],
}
OPTIMIZER = {
    "my_num_samples": 16,
    "val_interval": 10,
    "lr": 0.001,
    "optimizer": "AdamW",
    "metrics_function": "ConfusionMatrixMetric",
    "loss_function": "FocalLoss",
    "metric": "avg_f1",
    "gamma": 1.5,
}
PLAIN = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 16],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.victim),)


def shaken(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The network with all its numbers drawn anew, biases and norms too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.copy_(tensor + 0.1 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


def octopi_folder(
    folder: Path,
    network: torch.nn.Module,
    model: dict[str, Any],
    labels: dict[str, int] | None = LABELS,
    loader: dict[str, Any] = LOADER,
) -> Path:
    """What `octopi train` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"model": model, "labels": labels, "optimizer": OPTIMIZER, "dataloader": loader}
    if labels is None:
        del document["labels"]
    (folder / "model_config.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=100))
    weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    torch.save(weights, folder / "best_model.pth")
    return folder


def nnunet_document(network: torch.nn.Module, **given: Any) -> dict[str, Any]:
    """What nnU-Net's trainer saves, with numpy's numbers where it has them. given: labels, configuration, trainer, fold,
    or any key of the plans' configuration.
    """
    dataset = {
        "channel_names": {"0": "cryoET"},
        "labels": given.pop("labels", {"background": 0, "Ribosome": 1, "apo_ferritin": 2}),
        "numTraining": 3,
        "file_ending": ".nii.gz",
    } | given.pop("dataset", {})
    name, trainer = given.pop("configuration", "3d_fullres"), given.pop("trainer", "nnUNetTrainer")
    fold, more = given.pop("fold", 0), given.pop("plans", {})
    chosen = {
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 32, 32],
        "spacing": [10.0, 10.0, 10.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": PLAIN,
        **given,
    }
    plans = {"transpose_forward": [0, 1, 2], "configurations": {"2d": {}, name: chosen}, **more}
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.25)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 3,
        "init_args": {
            "plans": plans,
            "configuration": name,
            "fold": fold,
            "dataset_json": dataset,
            "device": torch.device("cpu"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


def alone(document: dict[str, Any], folder: Path) -> Path:
    """A checkpoint of nnU-Net without the rest of its results folder."""
    path = folder / "checkpoint_final.pth"
    torch.save(document, path)
    return path


def results_folder(folder: Path, documents: dict[int | str, dict[str, Any]]) -> Path:
    """What nnU-Net leaves. documents: of each fold."""
    for fold, document in documents.items():
        (folder / f"fold_{fold}/validation").mkdir(parents=True)
        torch.save(document, folder / f"fold_{fold}/checkpoint_final.pth")
        for name, key in (("plans.json", "plans"), ("dataset.json", "dataset_json")):
            (folder / name).write_text(json.dumps(document["init_args"][key]))
    return folder


def probabilities(predictor: Tiled, volume: np.ndarray) -> np.ndarray:
    """(C, z, y, x), in full precision."""
    predictor.bf16, predictor.sums = False, "float32"
    return np.concatenate([slab for _, slab in predictor.slabs(volume)], axis=1).astype(np.float32)
