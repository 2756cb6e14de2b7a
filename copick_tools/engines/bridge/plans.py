"""Plans: what nnU-Net's planner makes of the tomograms, or of a recipe's patch, as the plain numbers that a checkpoint holds."""

from __future__ import annotations

import json
import pydoc
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from copick_tools.engines.bridge.family import Bridged, Plan
from copick_tools.engines.bridge.networks import Planned, Stages, Trained
from copick_tools.errors import UsageError
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.targets import Shape

DATASET = "Dataset001_copick"
CONFIGURATION = "3d_fullres"
SMALLEST = 4  # voxels along an axis of the last stage, as nnU-Net's planner has it


def topology(patch: Shape) -> tuple[Stages, Stages, Shape]:
    """Strides and kernels of each stage for a patch of cubic voxels, and the patch that fits them, at least as large."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, kernels, fitting, _ = get_pool_and_conv_props((1.0, 1.0, 1.0), patch, SMALLEST, 999999)
    z, y, x = (int(side) for side in fitting)
    return strides, kernels, (z, y, x)


def fits(patch: Shape, multiple: int) -> bool:
    """Whether a network can be planned for a patch, of two stages or more."""
    strides, _, fitting = topology(patch)
    return len(strides) > 1 and fitting == tuple(patch) and not any(side % multiple for side in patch)


def check_patch(recipe: Recipe, multiple: int) -> None:
    """Raise UsageError unless the recipe's patch, if it gives one, is one that `fits`."""
    patch = recipe.train.patch
    if patch is None or fits(patch, multiple):
        return
    above = list(patch)
    for axis in range(3):
        above[axis] = _nearest(above, axis, multiple, lambda side: side + 1)
    below = [_nearest([*above[:axis], patch[axis], *above[axis + 1 :]], axis, multiple, _down) for axis in range(3)]
    raise UsageError(
        f"train.patch {list(patch)} doesn't fit the network that nnU-Net plans for it",
        f"the nearest that do are {below} and {above}; null lets the planner choose",
    )


def _down(side: int) -> int:
    return side - 1 if side > 8 else 0


def _nearest(patch: list[int], axis: int, multiple: int, step: Callable[[int], int]) -> int:
    """The nearest side that fits along an axis, the others rounded up; where there is none, the least."""
    side = patch[axis]
    while side:
        z, y, x = [side if at == axis else -(-other // 64) * 64 for at, other in enumerate(patch)]
        if fits((z, y, x), multiple):
            return side
        side = step(side)
    return max(8, multiple)


def make_plan(bridged: Bridged, model: Trained, recipe: Recipe, ignored: bool) -> dict[str, Any]:
    """A checkpoint's plan (see `Plan`), by nnU-Net's planner, from the fingerprint in its folders.

    ignored: whether there are voxels that nobody annotated.
    """
    planner = _planner_class(bridged, model, recipe.train.patch)(DATASET, suppress_transpose=True)
    bridged.configure(planner, model)
    plans = json.loads(json.dumps(planner.plan_experiment()))  # lists for tuples, as in a checkpoint
    chosen = plans["configurations"][CONFIGURATION]
    architecture, patch = chosen.pop("architecture"), chosen.pop("patch_size")
    if recipe.train.patch is None:
        patch = [max(bridged.multiple, side // bridged.multiple * bridged.multiple) for side in patch]
    if not isinstance(model, Planned):  # its network is what it is, whatever the planner made of the patch
        architecture = bridged.architecture(model, *topology(patch)[:2])
    chosen["batch_size"] = recipe.train.batch_size
    return {
        "patch": [int(side) for side in patch],
        "spacing": chosen["spacing"],
        "batch_size": recipe.train.batch_size,
        "deep_supervision": model.deep_supervision,
        "mirror_axes": _mirrored(model, recipe),
        "ignored": ignored,
        "architecture": architecture,
        "nnunet": {**plans, "configurations": {CONFIGURATION: chosen}},
    }


def nnunet_plans(plan: Plan) -> dict[str, Any]:
    """A checkpoint's plan as nnU-Net reads it."""
    plans = deepcopy(plan["nnunet"])
    plans["configurations"][CONFIGURATION] |= {"architecture": plan["architecture"], "patch_size": plan["patch"]}
    return plans


def dataset_json(objects: list[str], cases: list[str], ignored: bool) -> dict[str, Any]:
    """nnU-Net's description of a dataset. objects: names in the order of the channels from 1."""
    labels = {"background": 0} | {f"{channel} {name}": channel for channel, name in enumerate(objects, 1)}
    if ignored:
        labels["ignore"] = len(objects) + 1
    return {
        "channel_names": {"0": "cryoET"},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ".none",
        "dataset": {case: {"images": ["none"], "label": "none"} for case in cases},
    }


def _mirrored(model: Trained, recipe: Recipe) -> list[int]:
    """Axes zyx along which training flips."""
    flips = (recipe.augment.flip_z, recipe.augment.flip_yx, recipe.augment.flip_yx)
    return [axis for axis, flip in enumerate(flips) if flip > 0 or model.augmentation == "nnunet"]


def _planner_class(bridged: Bridged, model: Trained, patch: Shape | None) -> type[Any]:
    """nnU-Net's planner, with the normalization of our tiler; where a patch is given, with that."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    base: type[Any] = pydoc.locate(bridged.planner)  # type: ignore[assignment]

    class Planner(base):
        def determine_reader_writer(self) -> type[SimpleITKIO]:
            return SimpleITKIO  # plans have to name one; nothing is read by it

        def determine_normalization_scheme_and_whether_mask_is_used_for_norm(self) -> tuple[list[str], list[bool]]:
            return ["ZScoreNormalization"], [False]

    class PlannerOfPatch(Planner):
        @staticmethod
        def static_estimate_VRAM_usage(*_: Any) -> int:
            return 1  # the patch stays as it is

        def get_plans_for_configuration(
            self, spacing: Any, median_shape: Any, data_identifier: str, *_: Any
        ) -> dict[str, Any]:
            if len(spacing) < 3:
                return {}
            found = super().get_plans_for_configuration(spacing, np.array(patch), data_identifier, 1.0, {})
            strides, kernels, _ = topology(patch)
            made = {"patch_size": patch, "architecture": bridged.architecture(model, strides, kernels)}
            return {**found, **made, "median_image_size_in_voxels": median_shape}

    chosen = PlannerOfPatch if patch else Planner
    chosen.__name__ = base.__name__  # it stands in the plans
    return chosen
