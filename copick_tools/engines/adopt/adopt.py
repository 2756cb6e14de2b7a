"""Models that other tools trained, as checkpoints of ours: Octopi's and nnU-Net's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from copick_tools.data.replace import clear_leftovers, replacing
from copick_tools.errors import FormatError, NotFoundError

if TYPE_CHECKING:
    from copick_tools.engines.adopt.objects import Stated
    from copick_tools.engines.adopt.weights import Adopted

Kind = Literal["octopi", "nnunet"]
PLANS, DATASET = "plans.json", "dataset.json"
OCTOPI_FILES = ("model_config.yaml", "best_model.pth")


def kind_of(path: Path) -> Kind | None:
    """Which other tool made a file or folder, by names alone; None: none of them, or ours.

    Octopi: the folder of a training, its weights or its YAML. nnU-Net: a results folder (plans.json, dataset.json, fold_0, …),
    one of its folds, or a checkpoint_*.pth.
    """
    if path.is_dir():
        if (path / "best.ckpt").is_file():
            return None
        if any((folder / PLANS).is_file() for folder in (path, path.parent)) and _has_folds(path):
            return "nnunet"
        if any((path / name).is_file() for name in (*OCTOPI_FILES, "weights.pth")):
            return "octopi"
        return "nnunet" if (path / PLANS).is_file() or _has_folds(path) else None
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
    if _known(path) == "octopi":
        return (out,)
    from copick_tools.engines.adopt.nnunet import folds

    names = [name for name, _ in folds(path)]
    return (out,) if len(names) == 1 else tuple(out.with_name(f"{out.stem}-{name}{out.suffix}") for name in names)


def adopted_from(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The models of a file or folder, one for each fold. Raises NotFoundError, FormatError, UsageError."""
    if _known(path) == "octopi":
        from copick_tools.engines.adopt.octopi import read
    else:
        from copick_tools.engines.adopt.nnunet import read
    yield from read(path, stated)


def _known(path: Path) -> Kind:
    if not path.exists():
        raise NotFoundError(f"no file or folder {path}", "give a training folder of Octopi or nnU-Net")
    kind = kind_of(path)
    if kind is None:
        within = [folder.name for folder in sorted(path.glob("*")) if folder.is_dir() and kind_of(folder)]
        usual = f"Octopi's folder holds {' and '.join(OCTOPI_FILES)}; nnU-Net's {PLANS}, {DATASET} and fold_0"
        raise FormatError(
            f"{path} is no model of Octopi or nnU-Net", f"those in it are {', '.join(within)}" if within else usual
        )
    return kind


def _has_folds(path: Path) -> bool:
    with os.scandir(path) as entries:
        return any(entry.name.startswith(("fold_", "checkpoint_")) for entry in entries)
