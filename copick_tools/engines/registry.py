"""Model families by name. A family of your own is a module path: ``family: package.module``."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel

from copick_tools.errors import NotFoundError, PopsicleError, nearest
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.space import NONE, FamilySpace

log = logging.getLogger("copick_tools")
Settings = TypeVar("Settings", bound=BaseModel)
ADOPTED = "copick_tools.engines.adopted"  # the family of what other tools trained, where no other is theirs


@dataclass(frozen=True)
class Family:
    """A row of the registry. extra: of pip, None where the base installation is enough.

    caches: whether training can hold whole tomograms in memory (``train.cache``). learns: whether it can be trained here. package: a
    module that comes with the extra, where the family's own imports it late. apart: what can't be in one environment with it.
    """

    name: str
    module: str
    title: str
    paper: str
    license: str
    extra: str | None = None
    caches: bool = True
    learns: bool = True
    package: str | None = None
    apart: str | None = None

    @property
    def install(self) -> str:
        """What to do where the extra isn't installed."""
        beside = f", in an environment without {self.apart}" if self.apart else ""
        return f'pip install "copick-tools[{self.extra}]"{beside}'


NNUNET = "Apache-2.0 (nnU-Net)"
FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="nnunet",
            module="copick_tools.engines.nnunet",
            title="nnU-Net, 3D full resolution, self-configuring",
            paper="Isensee et al., Nature Methods 18, 203 (2021); POPSICLE B.1",
            license=NNUNET,
            extra="nnunet",
            caches=False,
        ),
        Family(
            name="nnunet-resenc",
            module="copick_tools.engines.nnunet_resenc",
            title="nnU-Net with the residual encoder L",
            paper="Isensee et al., arXiv 2404.09556 (2024); POPSICLE B.1",
            license=NNUNET,
            extra="nnunet",
            caches=False,
        ),
        Family(
            name="mednext",
            module="copick_tools.engines.mednext",
            title="MedNeXt B, kernel 3, in nnU-Net's trainer",
            paper="Roy et al., MICCAI 2023; POPSICLE B.1",
            license="Apache-2.0 (MONAI, nnU-Net)",
            extra="nnunet",
            caches=False,
        ),
        Family(
            name="swinunetr",
            module="copick_tools.engines.swinunetr",
            title="Swin transformer encoder, U-Net decoder",
            paper="Hatamizadeh et al., arXiv 2201.01266 (2022); POPSICLE B.2",
            license="Apache-2.0 (MONAI)",
        ),
        Family(
            name="octopi",
            module="copick_tools.engines.octopi",
            title="residual 3D U-Net found by Octopi's model search (MONAI)",
            paper="POPSICLE, arXiv 2606.10255, B.3",
            license="Apache-2.0 (MONAI)",
        ),
        Family(
            name="deepfinder",
            module="copick_tools.engines.deepfinder",
            title="DeepFinder's 3D U-Net, re-built from the paper",
            paper="Moebel et al., Nature Methods 18, 1386 (2021); POPSICLE B.3",
            license="MIT (ours)",
        ),
        Family(
            name="deepetpicker",
            module="copick_tools.engines.deepetpicker",
            title="DeepETPicker's residual 3D U-Net, re-built from the paper",
            paper="Liu et al., Nature Communications 15, 2090 (2024); POPSICLE B.3",
            license="MIT (ours)",
        ),
        Family(
            name="slices",
            module="copick_tools.engines.slices",
            title="2D U-Net on slices, for instances in 3D by averaged flows or stitching (MONAI)",
            paper="Stringer et al., Nature Methods 18, 100 (2021); Pachitariu et al., Cellpose-SAM (2025)",
            license="Apache-2.0 (MONAI)",
        ),
        Family(
            name="cellpose-sam",
            module="copick_tools.engines.cellpose_sam",
            title="Segment Anything's ViT on slices with maps of objects and flows (transformers)",
            paper="Pachitariu, Rariden and Stringer, Cellpose-SAM (2025)",
            license="Apache-2.0 (transformers); weights have terms of their own",
            extra="sam",
        ),
        Family(
            name="sam",
            module="copick_tools.engines.sam",
            title="Segment Anything on slices: answers prompts, and says what and where objects are (transformers)",
            paper="Kirillov et al., ICCV 2023; Archit et al., Nature Methods 22, 579 (2025)",
            license="Apache-2.0 (transformers); weights have terms of their own",
            extra="sam",
        ),
        Family(
            name="sam2",
            module="copick_tools.engines.sam2",
            title="Segment Anything 2, which follows objects from slice to slice; SAM3's tracker by its config (transformers)",
            paper="Ravi et al., arXiv 2408.00714 (2024); Archit et al., Nature Methods 22, 579 (2025)",
            license="Apache-2.0 (transformers); weights have terms of their own",
            extra="sam",
        ),
        Family(
            name="mask2former",
            module="copick_tools.engines.mask2former",
            title="Mask2Former on slices: queries that each say a mask and its class (transformers)",
            paper="Cheng et al., CVPR 2022; the multi-organelle benchmark's query-based baseline",
            license="Apache-2.0 (transformers); weights have terms of their own",
            extra="sam",
        ),
        Family(
            name="microsam",
            module="copick_tools.engines.microsam",
            title="micro-SAM's fine-tuned Segment Anything and its decoder of distances, on slices; it predicts only",
            paper="Archit et al., Nature Methods 22, 579 (2025); Archit & Pape (2026)",
            license="MIT (micro-SAM), Apache-2.0 (Segment Anything); weights have terms of their own",
            extra="microsam",
            caches=False,
            learns=False,
            package="micro_sam",
            apart="cellpose: both bring a module segment_anything",
        ),
    )
}


class MissingExtra(NotFoundError):
    """A family whose packages aren't installed; the hint says how to."""


def family(name: str) -> Family:
    """A family by name, or a module of your own by its path. Raises NotFoundError."""
    if name in FAMILIES:
        return FAMILIES[name]
    if "." not in name or not all(part.isidentifier() for part in name.split(".")):
        raise NotFoundError(f"no model family '{name}'", nearest(name, FAMILIES))
    return Family(name, name, "your own", "", "")


def engine(name: str) -> ModuleType:
    """The module of a family, imported now.

    Raises NotFoundError (no such family, not an engine), MissingExtra, PopsicleError (a torchvision that fits no torch).
    """
    row = family(name)
    with importing(row):
        module = importlib.import_module(row.module)
    missing = [part for part in ("Model", "check", "train", "load") if not hasattr(module, part)]
    if missing:
        raise NotFoundError(f"module {row.module} is no engine: it lacks {', '.join(missing)}", "see docs/engines.md")
    return module


@contextmanager
def importing(row: Family) -> Iterator[None]:
    """Say of a failing import what to install for a family. Raises NotFoundError, MissingExtra, PopsicleError."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"family {row.name} can't be loaded: no module {error.name}"
        if row.extra:
            raise MissingExtra(message, row.install) from error
        raise NotFoundError(message, "install it, or put the folder that holds it on PYTHONPATH") from error
    except (RuntimeError, ImportError) as error:
        if "torchvision" not in str(error):
            raise
        needless = "" if row.package else "pip uninstall torchvision, which we don't need; or "
        raise PopsicleError(
            f"family {row.name} can't be loaded, for the torchvision here was built for another torch: {error}",
            f"{needless}install the one that belongs to this torch",
        ) from error


def require(row: Family) -> None:
    """Raise MissingExtra where what a family imports late isn't there."""
    if row.package and importlib.util.find_spec(row.package) is None:
        raise MissingExtra(f"family {row.name} can't be loaded: no module {row.package}", row.install)


def settings(model: type[Settings], recipe: Recipe) -> Settings:
    """The recipe's `model:` mapping, validated. Raises FormatError."""
    values: dict[str, Any] = {key: value for key, value in recipe.model.items() if key != "family"}
    return parse(model, values, where="model")


def multiple(recipe: Recipe) -> int:
    """What each side of the patch has to be a multiple of, where the family says so; else 1."""
    return int(getattr(settings(engine(recipe.family).Model, recipe), "multiple", 1))


def space(name: str) -> FamilySpace:
    """What a family adds to the search space of all families. Raises NotFoundError."""
    found: FamilySpace = getattr(engine(name), "SPACE", NONE)
    return found


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with every setting of its family written out. Raises NotFoundError, FormatError.

    A family that has ``completed(model)`` also reads what its weights say, which a checkpoint then holds.
    """
    module = engine(recipe.family)
    model = settings(module.Model, recipe)
    model = module.completed(model) if hasattr(module, "completed") else model
    return recipe.model_copy(update={"model": {"family": recipe.family, **model.model_dump(mode="json")}})


def load(checkpoint: Path, device: str = "auto") -> Any:
    """The predictor of a checkpoint of any family. Raises NotFoundError, FormatError.

    A checkpoint may come from anywhere. Of a family that isn't ours it names a module, which is imported from where packages
    are installed or PYTHONPATH says, and not because it lies in the current folder.
    """
    from copick_tools.training.checkpoint import read_card

    name = read_card(checkpoint).recipe.family
    if name in FAMILIES or name == ADOPTED:
        return engine(name).load(checkpoint, device)
    log.info("%s is of a family that isn't ours: importing %s", checkpoint, name)
    with _elsewhere():
        module = engine(name)
    return module.load(checkpoint, device)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Without the current folder on the path, where Python itself put it: first, as for ``python -m``, or as ''."""
    before, here = list(sys.path), Path.cwd()
    first = before[:1] if before and Path(before[0]).resolve() != here else []
    sys.path[:] = first + [entry for entry in before[1:] if entry]
    try:
        yield
    finally:
        sys.path[:] = before
