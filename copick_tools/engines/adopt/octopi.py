"""Octopi's trainings: the folder of `octopi train` or `octopi model-explore`, model_config.yaml and best_model.pth.

The YAML names the network and its sizes (``model``), objects and channels (``labels``; early versions lack them), loss and tomograms
(``optimizer``, ``dataloader``). Octopi normalizes each tomogram to mean 0 and deviation 1, clips nothing, and predicts cubes
of ``dim_in`` voxels that overlap by half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from copick_tools.engines import adopted as others
from copick_tools.engines import octopi, swinunetr
from copick_tools.engines.adopt.adopt import OCTOPI_FILES
from copick_tools.engines.adopt.objects import Stated, close, require_spacing, tomo_type
from copick_tools.engines.adopt.weights import Adopted, plain, require_fit, tensors
from copick_tools.engines.family import Settings
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.load import parse, read_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.checkpoint import Card

ORIGIN = "Octopi"
OVERLAP = 0.5  # Octopi's
PAINTED = 0.7  # of the radius: `octopi create-targets`
SWIN = ("feature_size", "depths", "num_heads", "drop_rate", "attn_drop_rate", "dropout_path_rate")
MEDNEXT = (
    *("encoder_expansion_ratio", "decoder_expansion_ratio", "bottleneck_expansion_ratio"),
    *("blocks_down", "blocks_bottleneck", "blocks_up"),
)
# class of MONAI, the arguments that Octopi takes from its YAML, and its values for those that may be missing there
OTHERS: dict[str, tuple[others.Network, tuple[str, ...], dict[str, Any]]] = {
    "AttentionUnet": ("AttentionUnet", ("channels", "strides", "dropout"), {}),
    "DynUNet": (
        "DynUNet",
        ("kernel_size", "strides", "upsample_kernel_size"),
        {
            "filters": None,
            "dropout": None,
            "norm_name": ["INSTANCE", {"affine": True}],
            "act_name": ["leakyrelu", {"inplace": True, "negative_slope": 0.01}],
            "deep_supervision": False,
            "deep_supr_num": 1,
            "res_block": True,
        },
    ),
    "SegResNet": (
        "SegResNetDS",
        ("init_filters",),
        {
            "act": "prelu",
            "norm": "instance",
            "blocks_down": [1, 2, 2, 4],
            "blocks_up": None,
            "dsdepth": 1,
            "upsample_mode": "deconv",
            "resolution": None,
        },
    ),
    "MedNeXt": (
        "MedNeXt",
        ("init_filters", "kernel_size", "norm_type", "global_resp_norm", *MEDNEXT),
        {"use_residual_connection": True},
    ),
    "SwinUNETR": ("SwinUNETR", SWIN, {"window_size": 7, "use_checkpoint": False}),
}
LOSSES = {"FocalLoss": "focal", "TverskyLoss": "tversky", "FocalTverskyLoss": "focal-tversky"}


def read(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The model of a folder, of its weights or of its YAML. Raises NotFoundError, FormatError, UsageError."""
    config, weights = files(path)
    document = read_yaml(config)
    model = document.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("architecture"), str):
        raise FormatError(
            f"{config} is no model configuration of Octopi", "it has a key `model` with an `architecture`"
        )
    classes, side = (_integer(model, key, config) for key in ("num_classes", "dim_in"))
    labels = _labels(document, classes, stated, config)
    channels = stated.channels(labels, str(config))
    settings, build = _network(model, classes, config)
    spacing, kind = _tomograms(document, stated, config)
    task = stated.card_task(channels, spacing, kind, ORIGIN)
    recipe = {
        "task": task.file or task.name,
        "input": f"{kind}@{spacing:g}",
        "model": settings,
        "target": {"radius_fraction": PAINTED if stated.radius_fraction is None else stated.radius_fraction},
        "train": {"patch": [side] * 3},
        "inference": {"overlap": OVERLAP},
        **_training(document),
    }
    card = Card(
        recipe=parse(Recipe, recipe, where=str(config)),
        task=task,
        voxel_spacing=spacing,
        normalize=0.0,
        channels=tuple(entry.name for entry in channels),
        origin=ORIGIN,
    )
    network = tensors(plain(weights), weights)
    require_fit(network, build, weights, f"the {model['architecture']} of {config.name}")
    yield Adopted(config.parent.name, card, network)


def files(path: Path) -> tuple[Path, Path]:
    """YAML and weights. Raises NotFoundError."""
    folder = path if path.is_dir() else path.parent
    hub = ("config.yaml", "weights.pth")  # Octopi's names on the Hugging Face Hub
    names = hub if not (folder / OCTOPI_FILES[0]).is_file() and (folder / hub[0]).is_file() else OCTOPI_FILES
    config = path if path.suffix in (".yaml", ".yml") else folder / names[0]
    weights = path if path.suffix == ".pth" else folder / names[1]
    for file in (config, weights):
        if not file.is_file():
            raise NotFoundError(f"no file {file}", f"Octopi writes {' and '.join(OCTOPI_FILES)} into one folder")
    return config, weights


def _integer(model: Mapping[str, Any], key: str, config: Path) -> int:
    value = model.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FormatError(
            f"{config}: model.{key} is {value!r}, not a number of {'classes' if 'num' in key else 'voxels'}"
        )
    return value


def _labels(document: Mapping[str, Any], classes: int, stated: Stated, config: Path) -> dict[str, int]:
    """Name -> channel. Early versions wrote none: then a channel is the object with that label."""
    labels = document.get("labels")
    if labels is None:
        return {str(channel): channel for channel in range(1, classes)}
    if not isinstance(labels, dict) or not all(isinstance(label, int) for label in labels.values()):
        raise FormatError(f"{config}: `labels` isn't a mapping of names to numbers")
    if len(labels) != classes - 1:
        raise FormatError(f"{config}: {len(labels)} labels, but {classes} classes with background")
    return {str(name): label for name, label in labels.items()}


def _network(model: Mapping[str, Any], classes: int, config: Path) -> tuple[dict[str, Any], Any]:
    """The `model:` of a recipe, and what builds the network. Raises FormatError."""
    name = model["architecture"]
    if name == "Unet":
        keys = ("channels", "strides", "num_res_units", "dropout")
        found = parse(octopi.Model, _picked(model, keys, {}, config), where=f"{config}: model")
        return _setting("octopi", found), partial(octopi.build, found, classes)
    if name == "SwinUNETR" and model.get("window_size", 7) == 7:
        swin = parse(swinunetr.Model, _picked(model, SWIN, {}, config), where=f"{config}: model")
        return _setting("swinunetr", swin), partial(swinunetr.build, swin, classes)
    if name not in OTHERS:
        raise FormatError(f"{config}: unknown architecture '{name}'", nearest(name, ["Unet", *OTHERS]))
    network, needed, defaults = OTHERS[name]
    other = others.Model(network=network, arguments=_picked(model, needed, defaults, config))
    return _setting(others.FAMILY, other), partial(others.build, other, classes)


def _picked(
    model: Mapping[str, Any], needed: Sequence[str], defaults: Mapping[str, Any], config: Path
) -> dict[str, Any]:
    """The values of some keys, of which ``needed`` have to be there."""
    if missing := [key for key in needed if key not in model]:
        raise FormatError(f"{config}: model.{missing[0]} is missing", f"{model['architecture']} needs it")
    return {key: model[key] for key in needed} | {key: model.get(key, value) for key, value in defaults.items()}


def _setting(family: str, model: Settings) -> dict[str, Any]:
    return {"family": family, **model.model_dump(mode="json")}


def _tomograms(document: Mapping[str, Any], stated: Stated, config: Path) -> tuple[float, str]:
    """Voxel spacing (angstrom) and type of the tomograms. Raises FormatError, UsageError."""
    loader = document.get("dataloader")
    loader = loader if isinstance(loader, dict) else {}
    kinds = loader.get("tomo_algorithm")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    uris = loader.get("tomo_uris")
    named = [uri.rpartition("@") for uri in (uris if isinstance(uris, list) else ()) if isinstance(uri, str)]
    found = [(spacing, kind) for kind, _, spacing in named] or [(loader.get("voxel_size"), kinds[0] if kinds else None)]
    pairs = [(require_spacing(size, str(config)), tomo_type(kind)) for size, kind in found if size is not None]
    if stated.voxel_spacing is not None and (len(pairs) != 1):
        same = [kind for spacing, kind in pairs if close(spacing, stated.voxel_spacing)]
        return stated.voxel_spacing, same[0] if same else tomo_type(None)
    if not pairs:
        raise UsageError(
            f"{config} doesn't say at which voxel spacing it was trained",
            "convert it, and say: popsicle models convert … --voxel-spacing ANGSTROM",
        )
    if not all(close(spacing, pairs[0][0]) for spacing, _ in pairs):
        spacings = ", ".join(f"{spacing:g}" for spacing, _ in pairs)
        raise UsageError(
            f"{config}: trained at several voxel spacings: {spacings} A", "choose with --voxel-spacing ANGSTROM"
        )
    return stated.stated_spacing(pairs[0][0], str(config)), pairs[0][1]


def _training(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says of the training, for the record."""
    known = document.get("optimizer")
    known = known if isinstance(known, dict) else {}
    loss = {
        "name": LOSSES.get(str(known.get("loss_function"))),
        "alpha": known.get("alpha"),
        "gamma": known.get("gamma"),
    }
    if not loss["name"]:
        return {}
    return {"loss": {key: value for key, value in loss.items() if isinstance(value, str) or _positive(value)}}


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0
