"""From a copick project to nnU-Net's preprocessed cases: its fingerprint, its preprocessor, its Blosc2 files, and no raw images."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.data.project import write_text
from copick_tools.engines.bridge.augmentation import OUTSIDE
from copick_tools.engines.bridge.family import Plan
from copick_tools.engines.bridge.folder import NOTE, remove
from copick_tools.engines.bridge.plans import CONFIGURATION, DATASET, dataset_json, nnunet_plans
from copick_tools.engines.bridge.sources import made_of
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.training.data import CLIP, TrainingData
from copick_tools.training.targets import IGNORED
from copick_tools.volumes.normalize import intensity

log = logging.getLogger("copick_tools")
SAMPLES = 10_000_000  # intensities of objects, of all tomograms together
PERCENTILES = {"percentile_00_5": 0.5, "median": 50.0, "percentile_99_5": 99.5}
ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")  # of the files of a case; the last one is there when all are


@dataclass(frozen=True)
class Workspace:
    """The folder that holds what nnU-Net reads while it trains."""

    folder: Path
    data: TrainingData

    @property
    def cases(self) -> dict[str, str]:
        """nnU-Net's name of each training run -> run."""
        return {f"{number:05d}-{run}": run for number, run in enumerate(self.data.train)}

    @property
    def preprocessed(self) -> Path:
        """Where nnU-Net looks for descriptions of the dataset."""
        return self.folder / "preprocessed" / DATASET

    def open(self) -> None:
        """Make the folder, and empty it first if another recipe, project or split filled it, or what it was made of changed.

        Raises PopsicleError where a folder of that name is none of ours.
        """
        made_for = json.dumps(
            {
                "recipe": self.data.recipe.model_dump(mode="json"),
                "task": self.data.task.model_dump(mode="json"),
                "project": str(self.data.project.config),
                "runs": {run: made_of(self.data, run) for run in self.data.train},
            }
        )
        note = self.folder / NOTE
        if note.is_file() and note.read_text(encoding="utf-8") == made_for:
            shutil.rmtree(self.folder / "partial", ignore_errors=True)
            return
        if note.is_file():
            log.info("nnU-Net's data in %s was made of something else: it is made anew", self.folder)
        if not remove(self.folder):
            raise PopsicleError(
                f"{self.folder} holds what isn't nnU-Net's data of a training",
                "move it away, or choose another --out",
            )
        write_text(note, made_for)

    def close(self) -> None:
        """Remove the folder."""
        remove(self.folder)

    def arrays(self, run: str) -> tuple[np.ndarray, np.ndarray]:
        """Voxels as they are stored, float32, and channel numbers with `IGNORED`, uint8; both (z, y, x)."""
        volume, source = self.data.tomogram_and_target(run)
        try:
            voxels = np.asarray(volume[:, :, :], dtype=np.float32)
            intensity(voxels, CLIP)
        except FormatError:
            raise
        except ValueError as error:
            raise PopsicleError(f"run {run}: tomogram {self.data.tomogram(run).name}: {error}") from error
        z, y, x = voxels.shape
        return voxels, source.crop((0, 0, 0), (z, y, x))

    def describe(self, ignored: bool) -> dict[str, Any]:
        """Write dataset.json and splits_final.json, whose fold 0 is the recipe's; returns the former."""
        objects = [entry.name for entry in self.data.task.targets]
        described = dataset_json(objects, list(self.cases), ignored)
        for folder in (self.folder / "raw" / DATASET, self.preprocessed):
            write_text(folder / "dataset.json", json.dumps(described))
        folds = [{"train": list(self.cases), "val": list(self.data.validation)}]
        write_text(self.preprocessed / "splits_final.json", json.dumps(folds))
        return described


def fingerprint(workspace: Workspace) -> bool:
    """Write nnU-Net's fingerprint of the training runs where there is none; returns whether some voxels are ignored."""
    path = workspace.preprocessed / "dataset_fingerprint.json"
    if not path.exists():
        shapes, relative, intensities, ignored = [], [], [], False
        for shape, part, values, some in _measured(workspace):
            shapes.append(shape)
            relative.append(part)
            intensities.append(values)
            ignored |= some
        found = {
            "spacings": [[workspace.data.voxel_spacing] * 3] * len(shapes),
            "shapes_after_crop": shapes,
            "median_relative_size_after_cropping": float(np.median(relative)),
            "foreground_intensity_properties_per_channel": {"0": _statistics(np.concatenate(intensities))},
            "ignored": ignored,
        }
        write_text(path, json.dumps(found))
    return bool(json.loads(path.read_text(encoding="utf-8"))["ignored"])


def _measured(workspace: Workspace) -> Iterator[tuple[list[int], float, np.ndarray, bool]]:
    """Of each case: its shape without zero borders, its share of the voxels, intensities of objects, ignored voxels."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    samples = max(1, SAMPLES // len(workspace.cases))
    for run in workspace.cases.values():
        with _enough_memory(run):
            voxels, target = workspace.arrays(run)
            labels = np.where(target == IGNORED, -1, target.astype(np.int16))
            image, labels, _ = crop_to_nonzero(voxels[None], labels[None])
            values, _ = DatasetFingerprintExtractor.collect_foreground_intensities(labels, image, num_samples=samples)
            part, some = image.size / voxels.size, bool((target == IGNORED).any())
        yield [int(side) for side in image.shape[1:]], part, np.asarray(values[0], np.float32), some


@contextmanager
def _enough_memory(run: str) -> Iterator[None]:
    """Raise PopsicleError where a run needs more memory than there is."""
    try:
        yield
    except MemoryError as error:
        raise PopsicleError(
            f"out of memory while preparing the tomogram of run {run} for nnU-Net",
            "a tomogram is held several times over, as 32-bit numbers: -s voxel_spacing=A, coarser, makes it smaller",
        ) from error


def _statistics(values: np.ndarray) -> dict[str, float]:
    """Of the intensities of objects, of which there may be none."""
    values = values if len(values) else np.zeros(1)
    percentiles = {name: float(np.percentile(values, at)) for name, at in PERCENTILES.items()}
    return percentiles | {name: float(getattr(np, name)(values)) for name in ("mean", "std", "min", "max")}


def preprocess(workspace: Workspace, plan: Plan) -> None:
    """Write the cases that aren't there yet, each whole or not at all."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(nnunet_plans(plan))
    configuration = plans.get_configuration(CONFIGURATION)
    folder = workspace.preprocessed / configuration.data_identifier
    folder.mkdir(parents=True, exist_ok=True)
    described = workspace.describe(plan["ignored"])
    ignore = len(workspace.data.task.targets) + 1
    for case, run in workspace.cases.items():
        if (folder / f"{case}{ENDINGS[-1]}").exists():
            continue
        with _enough_memory(run):
            voxels, target = workspace.arrays(run)
            labels = np.where(target == IGNORED, ignore, target.astype(np.int16))[None].astype(np.int16)
            properties = {"spacing": list(plan["spacing"])}
            made = DefaultPreprocessor(verbose=False).run_case_npy(
                voxels[None], labels, properties, plans, configuration, described
            )
            _save(workspace, folder / case, made, plan["patch"])
    files = [path.stat().st_size for path in folder.iterdir()]
    log.info("nnU-Net's data: %d tomograms, %.2f GB in %s", len(workspace.cases), sum(files) / 1e9, folder)


def _save(workspace: Workspace, case: Path, made: tuple[Any, Any, dict[str, Any]], patch: list[int]) -> None:
    """Write the files of a case, in the end under the names that begin with ``case``."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    image, labels, properties = made
    image, labels = image.astype(np.float32, copy=False), labels.astype(np.int16, copy=False)
    labels[labels == OUTSIDE] = 0  # zeros in a tomogram: background, unlike what a patch holds of its outside
    partial = workspace.folder / "partial"
    partial.mkdir(exist_ok=True)
    try:
        nnUNetDatasetBlosc2.save_case(
            image,
            labels,
            properties,
            str(partial / case.name),
            **_blosc2(image, patch, ""),
            **_blosc2(labels, patch, "_seg"),
        )
        for ending in ENDINGS:
            os.replace(partial / f"{case.name}{ending}", f"{case}{ending}")
    except (OSError, RuntimeError) as error:
        raise PopsicleError(f"can't write {case}: {error}", "is the disk full?") from error


def _blosc2(array: np.ndarray, patch: list[int], suffix: str) -> dict[str, Any]:
    """Sizes of chunks and blocks, as nnU-Net chooses them."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

    blocks, chunks = comp_blosc2_params(array.shape, tuple(patch), array.itemsize)
    return {f"blocks{suffix}": blocks, f"chunks{suffix}": chunks}
