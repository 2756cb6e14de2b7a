"""Models that other tools trained, as checkpoints of ours: Octopi's, nnU-Net's, Cellpose-SAM's, micro-SAM's and SAM's."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from copick_tools.data.replace import clear_leftovers, replacing
from copick_tools.engines.adopt.promptable import is_promptable
from copick_tools.errors import FormatError, NotFoundError

if TYPE_CHECKING:
    from copick_tools.engines.adopt.objects import Stated
    from copick_tools.engines.adopt.weights import Adopted

Kind = Literal["octopi", "nnunet", "cellpose", "microsam", "transformers"]
PLANS, DATASET = "plans.json", "dataset.json"
OCTOPI_FILES = ("model_config.yaml", "best_model.pth")
CELLPOSE = (
    (b"W2", b"encoder.patch_embed.proj.weight"),
    (b"diam_mean", b"diam_labels"),
)  # names of tensors; of one row, all
MICROSAM = ((b"image_encoder.patch_embed.", b"mask_decoder."),)
OURS = b"popsicle-checkpoint"
MICROSAM_NAME = re.compile(r"vit_[a-z](_\w+)?")  # of a model that micro-SAM may have in its cache


def kind_of(path: Path) -> Kind | None:
    """Which other tool made a file or folder, by names alone, but Cellpose's and micro-SAM's files; None: none of them, or ours.

    Octopi: the folder of a training, its weights or its YAML. nnU-Net: a results folder (plans.json, dataset.json, fold_0, …),
    one of its folds, or a checkpoint_*.pth. Cellpose-SAM, micro-SAM: a file with tensors of their names, whatever the file is called.
    micro-SAM: also a name of its own where there is no such file. transformers: a folder whose config.json is of a SAM.
    """
    if path.is_dir():
        if (path / "best.ckpt").is_file():
            return None
        if any((folder / PLANS).is_file() for folder in (path, path.parent)) and _has_folds(path):
            return "nnunet"
        if any((path / name).is_file() for name in (*OCTOPI_FILES, "weights.pth")):
            return "octopi"
        if is_promptable(path):
            return "transformers"
        return "nnunet" if (path / PLANS).is_file() or _has_folds(path) else None
    if _has_names(path, CELLPOSE):
        return "cellpose"
    if _has_names(path, MICROSAM) or (not path.exists() and MICROSAM_NAME.fullmatch(str(path))):
        return "microsam"
    if path.suffix == ".pth":
        folders = path.absolute().parents[:2]
        if path.name.startswith("checkpoint_") or any((folder / PLANS).is_file() for folder in folders):
            return "nnunet"
    beside = path.suffix == ".pth" and (path.parent / OCTOPI_FILES[0]).is_file()
    return "octopi" if beside or path.name in (*OCTOPI_FILES, "weights.pth") else None


def adopt(path: Path, out: Path, stated: Stated, overwrite: bool = True) -> tuple[Path, ...]:
    """Write a model of another tool as a checkpoint of ours: the very ``out``, or where there are several folds, ``out`` with
    the fold's name before its suffix; all of them or none. No code in its files is run. Equal input gives equal bytes.

    overwrite: also those that are there already. Raises NotFoundError, FormatError, UsageError.
    """
    from copick_tools.training.checkpoint import save

    files = outputs(path, out)
    clear_leftovers(out.parent)
    with ExitStack() as stack:  # takes the final names when all are written
        for file, adopted in zip(files, adopted_from(path, stated), strict=True):
            if overwrite or not file.exists():
                save(stack.enter_context(replacing(file)), adopted.card, {"network": dict(adopted.network)})
    return files


def outputs(path: Path, out: Path) -> tuple[Path, ...]:
    """The files that `adopt` would write. Raises NotFoundError, FormatError."""
    if _known(path) != "nnunet":
        return (out,)
    from copick_tools.engines.adopt.nnunet import folds

    names = [name for name, _ in folds(path)]
    return (out,) if len(names) == 1 else tuple(out.with_name(f"{out.stem}-{name}{out.suffix}") for name in names)


def adopted_from(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The models of a file or folder, one for each fold. Raises NotFoundError, FormatError, UsageError."""
    kind = _known(path)
    if kind == "octopi":
        from copick_tools.engines.adopt.octopi import read
    elif kind == "cellpose":
        from copick_tools.engines.adopt.cellpose import read
    elif kind == "microsam":
        from copick_tools.engines.adopt.microsam import read
    elif kind == "transformers":
        from copick_tools.engines.adopt.transformers import read
    else:
        from copick_tools.engines.adopt.nnunet import read
    yield from read(path, stated)


def _known(path: Path) -> Kind:
    kind = kind_of(path)
    if kind is None and not path.exists():
        raise NotFoundError(
            f"no file or folder {path}",
            "give a training folder of Octopi or nnU-Net, a file of Cellpose-SAM or micro-SAM, or a folder of SAM",
        )
    if kind is None and (_is_ours(path / "best.ckpt" if path.is_dir() else path)):
        raise FormatError(
            f"{path} is a checkpoint of popsicle already", "segment, localize and calibrate take it as it is"
        )
    if kind is None:
        within = [folder.name for folder in sorted(path.glob("*")) if folder.is_dir() and kind_of(folder)]
        usual = f"Octopi's folder holds {' and '.join(OCTOPI_FILES)}; nnU-Net's {PLANS}, {DATASET} and fold_0"
        raise FormatError(
            f"{path} is no model of Octopi, nnU-Net, Cellpose-SAM, micro-SAM or SAM",
            f"those in it are {', '.join(within)}" if within else usual,
        )
    return kind


def _is_ours(path: Path) -> bool:
    return OURS in _listed(path)


def _has_names(path: Path, rows: tuple[tuple[bytes, ...], ...]) -> bool:
    """Whether a file of ``torch.save`` names tensors as one of the rows."""
    listed = _listed(path)
    return OURS not in listed and any(all(part in listed for part in row) for row in rows)


def _listed(path: Path) -> bytes:
    """What a file of ``torch.save`` says that it holds, which alone is read of it; empty for others."""
    try:
        with zipfile.ZipFile(path) as file:
            name = next((name for name in file.namelist() if name.endswith("/data.pkl")), None)
            return file.read(name) if name else b""
    except (OSError, zipfile.BadZipFile):
        return b""


def _has_folds(path: Path) -> bool:
    with os.scandir(path) as entries:
        return any(entry.name.startswith(("fold_", "checkpoint_")) for entry in entries)
