"""Which of our families builds the network of an nnU-Net training, and with what plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from copick_tools.engines import adopted as others
from copick_tools.engines import mednext
from copick_tools.engines.adopt.weights import Tensors, require_fit
from copick_tools.engines.bridge.networks import Planned, architecture, unet
from copick_tools.engines.bridge.plans import CONFIGURATION
from copick_tools.errors import FormatError
from copick_tools.recipes.load import parse

if TYPE_CHECKING:
    from copick_tools.engines.adopt.nnunet import Trained

FAMILIES = {"PlainConvUNet": "nnunet", "ResidualEncoderUNet": "nnunet-resenc"}
LEVELS = 4  # of a MedNeXt, above its bottleneck
STORED_TWICE = ("dummy_tensor",)  # of the authors' MedNeXt, for a fault of checkpointing


@dataclass(frozen=True)
class Network:
    """settings: the recipe's `model:`. plan: of the card. tensors: by the names that our network has."""

    settings: dict[str, Any]
    plan: dict[str, Any]
    tensors: Tensors


def of(trained: Trained, weights: Tensors, outputs: int, spacing: float) -> Network:
    """The network of a training. spacing: angstrom. Raises NotFoundError (nnU-Net isn't installed), FormatError."""
    planned = trained.planned
    if "MedNeXt" in trained.trainer:
        return _mednext(trained, weights, outputs, spacing)
    found = planned.get("architecture") or _older(planned, trained)
    name = str(found.get("network_class_name")).rpartition(".")[2]
    if name not in FAMILIES:
        raise FormatError(
            f"{trained.file} can't be converted: its network is {name}",
            f"those that can: {', '.join(FAMILIES)}, MedNeXt",
        )
    build = partial(unet, found, outputs, True)
    require_fit(weights, build, trained.file, f"the {name} of the plans, as {trained.trainer} builds it")
    settings = {"family": FAMILIES[name], **_settings(found["arch_kwargs"])}
    return Network(settings, _plan(trained, planned, found, spacing), weights)


def _plan(
    trained: Trained, planned: Mapping[str, Any], architecture: Mapping[str, Any], spacing: float
) -> dict[str, Any]:
    """As `engines.bridge` has it."""
    rest = {key: value for key, value in planned.items() if key not in ("architecture", "patch_size", "inherits_from")}
    return {
        "patch": [int(side) for side in planned["patch_size"]],
        "spacing": [spacing] * 3,
        "batch_size": int(planned.get("batch_size", 1)),
        "deep_supervision": True,
        "mirror_axes": trained.mirror_axes,
        "ignored": "ignore" in trained.dataset.get("labels", {}),
        "architecture": dict(architecture),
        "nnunet": {**trained.plans, "configurations": {CONFIGURATION: rest}},
    }


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says of a planned network, for the record: it is built as planned."""
    features = arguments["features_per_stage"]
    features = features if isinstance(features, list) else [features]  # one number: of all stages
    found = {"base_features": int(features[0]), "max_features": int(max(features)), "augmentation": "nnunet"}
    return found | ({"blocks": arguments["n_blocks_per_stage"]} if "n_blocks_per_stage" in arguments else {})


def _older(planned: Mapping[str, Any], trained: Trained) -> dict[str, Any]:
    """The architecture of plans from before nnU-Net 2.4, which spread it over the configuration. Raises FormatError."""
    name = str(planned.get("UNet_class_name"))
    first = "n_blocks_per_stage" if name == "ResidualEncoderUNet" else "n_conv_per_stage"
    try:
        model = Planned(base_features=planned["UNet_base_num_features"], max_features=planned["unet_max_num_features"])
        decoder = planned["n_conv_per_stage_decoder"]
        blocks = {first: planned["n_conv_per_stage_encoder"], "n_conv_per_stage_decoder": decoder}
        return architecture(name, model, planned["pool_op_kernel_sizes"], planned["conv_kernel_sizes"], blocks)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{trained.file}: its plans say nothing of the network", "are they of nnU-Net v2?") from error


def _mednext(trained: Trained, weights: Tensors, outputs: int, spacing: float) -> Network:
    """MONAI's, or the authors', which copick-torch and Octopi train: that one widens otherwise where it goes down."""
    theirs = any(name.startswith("enc_block_0.") for name in weights)
    found = renamed(weights) if theirs else weights
    what = f"a MedNeXt of {trained.trainer}"
    try:
        sizes = _sizes(found)
        model = parse(mednext.Model, sizes, where=str(trained.file))
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise FormatError(f"{trained.file} can't be converted: its tensors aren't those of {what}") from error
    settings = {"family": "mednext", **model.model_dump(mode="json")}
    build: Callable[[], torch.nn.Module] = partial(mednext.build, model, outputs)
    if theirs and len(set(model.expansion)) > 1:
        other = others.Model(network="MedNeXt-MIC", arguments=_arguments(model), rules="nnunet")
        settings, build = (
            {"family": others.FAMILY, **other.model_dump(mode="json")},
            partial(others.build, other, outputs),
        )
    require_fit(found, build, trained.file, what)
    return Network(settings, _plan(trained, trained.planned, mednext.planned(model, [], []), spacing), found)


def _sizes(weights: Tensors) -> dict[str, Any]:
    """Settings of the family mednext, as the shapes tell. Raises KeyError where these aren't a MedNeXt's."""
    stages = [*(f"enc_stages.{n}." for n in range(LEVELS)), "bottleneck."]
    inner = [weights[f"{stage}0.conv2.weight"].shape for stage in stages]
    blocks = [len({name[len(stage) :].split(".")[0] for name in weights if name.startswith(stage)}) for stage in stages]
    return {
        "features": inner[0][1],
        "expansion": [wide // width for wide, width, *_ in inner],
        "blocks": blocks,
        "kernel_size": weights["enc_stages.0.0.conv1.weight"].shape[-1],
        "deep_supervision": any(name.startswith("out_blocks.") for name in weights),
        "augmentation": "nnunet",
    }


def _arguments(model: mednext.Model) -> dict[str, Any]:
    """MONAI's, of its MedNeXt."""
    return {
        "init_filters": model.features,
        "encoder_expansion_ratio": list(model.expansion[:LEVELS]),
        "decoder_expansion_ratio": list(model.expansion[LEVELS - 1 :: -1]),
        "bottleneck_expansion_ratio": model.expansion[LEVELS],
        "kernel_size": model.kernel_size,
        "deep_supervision": model.deep_supervision,
        "use_residual_connection": True,
        "blocks_down": list(model.blocks[:LEVELS]),
        "blocks_bottleneck": model.blocks[LEVELS],
        "blocks_up": list(model.blocks[LEVELS - 1 :: -1]),
    }


def renamed(weights: Tensors) -> Tensors:
    """The authors' names of MedNeXt's tensors -> MONAI's, where those of the decoder count from below."""
    parts = {f"enc_block_{n}.": f"enc_stages.{n}." for n in range(LEVELS)}
    parts |= {f"down_{n}.": f"down_blocks.{n}." for n in range(LEVELS)}
    parts |= {f"up_{n}.": f"up_blocks.{LEVELS - 1 - n}." for n in range(LEVELS)}
    parts |= {f"dec_block_{n}.": f"dec_stages.{LEVELS - 1 - n}." for n in range(LEVELS)}
    parts |= {f"out_{n}.": f"out_blocks.{LEVELS - n}." for n in range(1, LEVELS + 1)}
    found = {}
    for name, tensor in weights.items():
        if name in STORED_TWICE:
            continue
        old = next((part for part in parts if name.startswith(part)), "")
        found[parts.get(old, "") + name.removeprefix(old)] = tensor
    return found
