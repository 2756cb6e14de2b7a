"""nnU-Net's results folders (v2): plans.json, dataset.json and fold_0/checkpoint_final.pth, or one of those checkpoints alone.

A checkpoint holds the weights (``network_weights``), the trainer's name and all that the trainer was made with (``init_args``:
plans, configuration, fold, dataset_json); the JSON files beside it count where they are there, as for nnU-Net itself.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from copick_tools.engines.adopt.adopt import DATASET, PLANS
from copick_tools.engines.adopt.objects import Stated, close, require_spacing, tomo_type
from copick_tools.engines.adopt.weights import Adopted, plain, tensors
from copick_tools.engines.bridge.environment import require_nnunet
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.checkpoint import Card

log = logging.getLogger("copick_tools")
ORIGIN = "nnU-Net"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
NUMBERED = re.compile(r"fold_\d+")
ALL = "fold_all"  # trained on all data, those of the numbered folds too
OVERLAP = 0.5  # nnU-Net's tile_step_size
UNKNOWN = 1.0  # what stands for a spacing that nobody knew
COARSE = 3.0  # angstrom; isotropic spacings from here up are taken for angstrom
UNITS = (1.0, 10.0)  # angstrom, nanometer


class Plans(BaseModel):
    """The shape of plans.json, as far as it is read; so below."""

    configurations: dict[str, Any]
    transpose_forward: list[int] = Field([0, 1, 2])


class Configuration(BaseModel):
    """Of the plans. patch_size: zyx in voxels; spacing: zyx, of an unknown unit."""

    patch_size: list[Annotated[int, Field(ge=1)]] = Field([])
    batch_size: int = Field(1, ge=1)
    spacing: list[float] | None = None
    normalization_schemes: list[Any] = Field([])
    use_mask_for_norm: list[Any] = Field([])
    architecture: dict[str, Any] | None = None


class Dataset(BaseModel):
    """Of dataset.json."""

    channel_names: dict[str, Any] | list[Any] | None = None
    modality: dict[str, Any] | list[Any] | None = None


class Flips(BaseModel):
    """Of a checkpoint: axes zyx."""

    inference_allowed_mirroring_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None = None


@dataclass(frozen=True)
class Trained:
    """What one checkpoint holds. plans, dataset: JSON. mirror_axes: zyx, that it may be flipped along."""

    file: Path
    trainer: str
    fold: str
    plans: Mapping[str, Any]
    configuration: str
    dataset: Mapping[str, Any]
    weights: Any
    mirror_axes: list[int]

    @property
    def planned(self) -> dict[str, Any]:
        """The configuration, with what it inherits. Raises FormatError."""
        found = _inherited(self.plans, self.configuration, self.file)
        parse(Configuration, found, where=f"{self.file}: configuration {self.configuration}")
        return found


def read(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The models of a results folder, one for each fold. Raises NotFoundError, FormatError, UsageError."""
    found = folds(path)
    others = {folder.name: folder for folder in path.glob("fold_*") if folder.name not in dict(found)}
    unfinished = sorted(name for name, folder in others.items() if _checkpoint(folder) is None)
    if unfinished:
        log.warning("%s of %s left out: no %s", ", ".join(unfinished), path, " or ".join(CHECKPOINTS))
    if ALL in others and ALL not in unfinished:
        log.warning("%s of %s left out, as nnU-Net does where there are numbered folds: name it to use it", ALL, path)
    for name, file in found:
        yield _adopted(name, _trained(file), stated)


def folds(path: Path) -> list[tuple[str, Path]]:
    """Names and checkpoints of the folds: the final one of each, else the best one. As for nnU-Net, the training on all
    data counts where it is named or alone. Raises NotFoundError.
    """
    if path.is_file():
        return [(path.parent.name if path.parent.name.startswith("fold_") else path.stem, path)]
    here = [(path.name, path)] if _checkpoint(path) else []
    inside = [(folder.name, folder) for folder in sorted(path.glob("fold_*")) if folder.is_dir()]
    files = {name: _checkpoint(folder) for name, folder in here or inside}
    found = [(name, file) for name, file in files.items() if file is not None]
    if not found:
        raise NotFoundError(f"no {' or '.join(CHECKPOINTS)} in {path}", "was the training finished?")
    numbered = [entry for entry in found if NUMBERED.fullmatch(entry[0])]
    return [entry for entry in found if entry[0] != ALL] if numbered else found


def _checkpoint(folder: Path) -> Path | None:
    return next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)


def _trained(file: Path) -> Trained:
    """Raises FormatError."""
    document = plain(file, numpy=True)
    made = document.get("init_args") if isinstance(document, dict) else None
    if not isinstance(made, dict) or not isinstance(document.get("trainer_name"), str):
        raise FormatError(f"{file} is no checkpoint of nnU-Net v2", "it has no trainer_name and init_args")
    plans, dataset = (_beside(file, name, made.get(key)) for name, key in ((PLANS, "plans"), (DATASET, "dataset_json")))
    parse(Plans, dict(plans), where=f"{PLANS} of {file}")
    parse(Dataset, dict(dataset), where=f"{DATASET} of {file}")
    flips = parse(Flips, document, where=str(file)).inference_allowed_mirroring_axes
    return Trained(
        file=file,
        trainer=document["trainer_name"],
        fold=str(made.get("fold")),
        plans=plans,
        configuration=str(made.get("configuration")),
        dataset=dataset,
        weights=document.get("network_weights"),
        mirror_axes=list(flips or ()),
    )


def _beside(file: Path, name: str, inside: Any) -> Mapping[str, Any]:
    """A JSON of the results folder, else what the checkpoint remembers of it. Raises FormatError."""
    for folder in (file.parent.parent, file.parent):
        path = folder / name
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise FormatError(f"{path} is no JSON: {error}") from error
            if not isinstance(found, dict):
                raise FormatError(f"{path} holds no mapping of keys to values")
            return found
    if not isinstance(inside, dict):
        raise FormatError(f"{file}: there is no {name}", "it lies in the folder above the fold's")
    return dict(json.loads(json.dumps(inside, default=_number)))


def _number(value: Any) -> Any:
    """JSON of numpy's numbers."""
    return value.item() if hasattr(value, "item") else str(value)


def _adopted(name: str, trained: Trained, stated: Stated) -> Adopted:
    planned = trained.planned
    require_usual(planned, trained)
    labels = _labels(trained.dataset, trained.file)
    require_nnunet()
    from copick_tools.engines.adopt import networks as adopt_networks

    channels = stated.channels(labels, f"{DATASET} of {trained.file}")
    spacing = _spacing(planned.get("spacing"), stated, trained.file)
    weights = tensors(trained.weights, trained.file)
    network = adopt_networks.of(trained, weights, len(channels) + 1, spacing)
    kind = stated.task.tomo_types[0] if stated.task else tomo_type(None)
    task = stated.card_task(channels, spacing, kind, ORIGIN)
    recipe = {
        "task": task.file or task.name,
        "input": f"{kind}@{spacing:g}",
        "model": network.settings,
        "target": {} if stated.radius_fraction is None else {"radius_fraction": stated.radius_fraction},
        "train": {"patch": None, "batch_size": max(1, int(planned.get("batch_size", 1)))},
        "inference": {"overlap": OVERLAP},
    }
    card = Card(
        recipe=parse(Recipe, recipe, where=str(trained.file)),
        task=task,
        voxel_spacing=spacing,
        normalize=0.0,
        channels=tuple(entry.name for entry in channels),
        plan=network.plan,
        origin=f"{ORIGIN} ({trained.trainer}, {trained.configuration}, fold {trained.fold})",
    )
    return Adopted(name, card, network.tensors)


def require_usual(planned: Mapping[str, Any], trained: Trained) -> None:
    """Raise FormatError for what isn't predicted here as nnU-Net predicts it."""
    where, dataset = trained.file, trained.dataset
    inputs = dataset.get("channel_names", dataset.get("modality")) or {}
    axes = list(trained.plans.get("transpose_forward", (0, 1, 2)))
    schemes, masks = (list(planned.get(key, ())) for key in ("normalization_schemes", "use_mask_for_norm"))
    patch = planned.get("patch_size", ())
    faults = {
        f"it has {len(inputs)} input channels": len(inputs) != 1,
        f"its patches have {len(patch)} axes": len(patch) != 3,
        "it is the second stage of a cascade": bool(planned.get("previous_stage")),
        f"it turns the axes to {axes}": axes != [0, 1, 2],
        f"its intensities are normalized by {', '.join(map(str, schemes))}": schemes != ["ZScoreNormalization"],
        "its intensities are normalized within a mask": any(masks),
        f"it is prepared by {planned.get('preprocessor_name')}": planned.get("preprocessor_name", "DefaultPreprocessor")
        != "DefaultPreprocessor",
    }
    if wrong := [words for words, fault in faults.items() if fault]:
        raise FormatError(
            f"{where} can't be converted: {wrong[0]}",
            "3D networks of one z-scored input channel can; predict with nnU-Net, and import what it wrote",
        )


def _inherited(plans: Mapping[str, Any], name: str, where: Path, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration of the plans, with what it inherits from others. Raises FormatError."""
    found = plans.get("configurations", {}).get(name)
    if not isinstance(found, dict) or name in below:
        raise FormatError(f"{where}: the plans have no configuration {name}")
    parent = found.get("inherits_from")
    return {**(_inherited(plans, parent, where, (*below, name)) if parent else {}), **found}


def _labels(dataset: Mapping[str, Any], where: Path) -> dict[str, int]:
    """Name -> channel, without background and ignored voxels. Raises FormatError."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise FormatError(f"{where}: {DATASET} has no labels")
    if dataset.get("regions_class_order") or any(isinstance(v, list) and len(v) > 1 for v in labels.values()):
        raise FormatError(
            f"{where} can't be converted: its objects are regions, which overlap",
            "train it with one label for each object",
        )
    try:
        numbers = {str(name): int(v[0] if isinstance(v, list) else v) for name, v in labels.items() if name != "ignore"}
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise FormatError(f"{where}: a label in {DATASET} is no number") from error
    return {name: label for name, label in numbers.items() if label != 0}


def _spacing(planned: Any, stated: Stated, where: Path) -> float:
    """Voxel spacing in angstrom, of what the network sees.

    The plans don't say in which unit theirs is: for images of patients it is mm; Octopi and copick-torch write nm; others
    angstrom, or 1 where they know nothing. Raises FormatError (not positive, not isotropic), UsageError (the caller has to
    say it).
    """
    sides = [require_spacing(side, str(where)) for side in planned or ()]
    if len(sides) == 3 and not all(close(side, sides[0]) for side in sides):
        raise FormatError(
            f"{where} can't be converted: its voxels aren't cubes: {sides}", "train it on isotropic voxels"
        )
    if stated.voxel_spacing is not None:
        return stated.voxel_spacing
    found = sides[0] if len(sides) == 3 else UNKNOWN
    expected = [spacing for spacing in (stated.likely, stated.task and stated.task.voxel_spacing) if spacing]
    fitting = [found * unit for unit in UNITS if any(close(found * unit, spacing) for spacing in expected)]
    if fitting and found != UNKNOWN:
        return round(fitting[0], 3)
    if found >= COARSE:
        return found
    raise UsageError(
        f"{where}: its plans say spacing {found:g}, in an unknown unit",
        "convert it, and say that of the training data: popsicle models convert … --voxel-spacing ANGSTROM",
    )
