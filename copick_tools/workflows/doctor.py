"""`popsicle doctor`: is everything here that is needed, and what to install next."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from copick_tools import __version__
from copick_tools.engines.registry import FAMILIES
from copick_tools.recipes.load import configs, recipe_names, task_names
from copick_tools.recipes.results import Check, DoctorResult

NEEDED = {
    "copick": "copick",
    "torch": "torch",
    "monai": "monai",
    "cc3d": "connected-components-3d",
    "mrcfile": "mrcfile",
}
EXTRAS = {
    "nnunet": ("nnunetv2", "nnunetv2"),
    "sam": ("transformers", "transformers"),
    "search": ("optuna", "optuna"),
    "microsam": ("micro_sam", "micro-sam"),
    "annotate": ("napari", "napari"),
}


def doctor() -> DoctorResult:
    """Check packages, devices, memory and configs; nothing is written and no network is used."""
    checks = [
        *_packages(),
        *_extras(),
        *_segment_anything(),
        _torchvision(),
        *_devices(),
        _machine(),
        _configs(),
        _project(),
    ]
    return DoctorResult(version=__version__, checks=checks)


def _packages() -> Iterator[Check]:
    for module, package in NEEDED.items():
        try:
            importlib.import_module(module)
            yield Check(name=package, status="ok", detail=_version(package))
        except ImportError as error:
            yield Check(name=package, status="broken", detail=str(error), hint=f"pip install {package}")


def _version(package: str) -> str:
    """As installed; a module may be there without a record of it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "no version recorded"


def _extras() -> Iterator[Check]:
    """Packages of model families and commands that come with an extra."""
    for extra, (module, package) in EXTRAS.items():
        families = (
            ", ".join(family.name for family in FAMILIES.values() if family.extra == extra) or f"popsicle {extra}"
        )
        if find_spec(module) is None:
            install = [family.install for family in FAMILIES.values() if family.extra == extra]
            hint = install[0] if install else f'pip install "copick-tools[{extra}]"'
            yield Check(name=package, status="absent", detail=f"needed by {families}", hint=hint)
        else:
            yield Check(name=package, status="ok", detail=f"{_version(package)}, for {families}")


def _segment_anything() -> Iterator[Check]:
    """micro-SAM and Cellpose bring the same module from two distributions, and the one installed last is there."""
    from copick_tools.engines.microsam import conflict

    if found := conflict():
        hint = "make an environment for each"
        yield Check(name="segment_anything", status="broken", detail=found, hint=hint)


def _torchvision() -> Check:
    """A torchvision built for another torch breaks what imports it (transformers, micro-SAM, timm); ours never does."""
    if find_spec("torchvision") is None:
        return Check(name="torchvision", status="absent", detail="not needed")
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        needed = find_spec("micro_sam") is not None
        hint = "install the one that belongs to this torch" if needed else "pip uninstall torchvision"
        return Check(name="torchvision", status="broken", detail=str(error), hint=hint)
    return Check(name="torchvision", status="ok", detail=_version("torchvision"))


def _devices() -> Iterator[Check]:
    from copick_tools.inference.device import devices

    for name, detail in devices():
        yield Check(
            name=name, status="ok" if detail else "absent", detail=detail or "none here; --device cpu works always"
        )


def _machine() -> Check:
    free = shutil.disk_usage(".").free / 2**30
    return Check(name="machine", status="ok", detail=f"{os.cpu_count()} cores, {free:.0f} GiB free here")


def _configs() -> Check:
    return Check(
        name="configs", status="ok", detail=f"{configs()}: {len(task_names())} tasks, {len(recipe_names())} recipes"
    )


def _project() -> Check:
    config = os.environ.get("COPICK_CONFIG")
    if not config:
        return Check(
            name="project",
            status="absent",
            detail="COPICK_CONFIG isn't set",
            hint="export COPICK_CONFIG=DIR/copick.json",
        )
    from copick_tools.data.project import open_project
    from copick_tools.errors import PopsicleError

    try:
        project = open_project(config)
        return Check(name="project", status="ok", detail=f"{project.config}: {len(project.run_names)} runs")
    except PopsicleError as error:
        return Check(name="project", status="broken", detail=error.message, hint=error.hint)
