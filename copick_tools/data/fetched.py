"""What is already there of what a plan names."""

from __future__ import annotations

from pathlib import Path

from copick_tools.data.hashing import file_hash
from copick_tools.data.plan import RunPlan, picks_path, segmentation_path
from copick_tools.data.provenance import read_record
from copick_tools.data.replace import persist
from copick_tools.errors import PopsicleError
from copick_tools.recipes.provenance import FetchedFile, RunRecord

PICKS = ".json"  # small, and edited by hand: always compared by hash


def made_file(folder: Path, path: str) -> FetchedFile:
    """A file of the project that was made here, and stays."""
    persist(folder / path)
    return FetchedFile(path=path, size=(folder / path).stat().st_size, sha256=file_hash(folder / path))


def is_complete(folder: Path, plan: RunPlan, *, verify: bool = False) -> bool:
    """Whether all that the plan names was fetched and is there. verify: read every file and compare its hash.

    Raises PopsicleError: a file was changed since it was fetched, or the run was fetched with another alignment; nobody
    would want that to be overwritten unasked.
    """
    record = read_record(folder, plan.run)
    if record is None:
        return False
    if differs(record, plan.record):
        raise PopsicleError(
            f"the run was fetched with tomogram {record.tomogram.id if record.tomogram else None}, "
            f"not {plan.record.tomogram.id if plan.record.tomogram else None}, whose coordinates may be others",
            "--overwrite replaces it, another --out keeps both",
        )
    _require_whole_merge(record, plan)
    there = _covers(record, plan)
    for file in record.files:
        path = folder / file.path
        if not path.is_file():
            there = False
        elif path.stat().st_size != file.size or (
            (verify or file.path.endswith(PICKS)) and file_hash(path) != file.sha256
        ):
            raise PopsicleError(f"{file.path} was changed since it was fetched", "--overwrite fetches the run again")
    return there


def differs(record: RunRecord, planned: RunRecord) -> bool:
    """Whether two fetches of a run don't fit together: another alignment, or another tomogram of the same name."""
    old, new = record.tomogram, planned.tomogram
    if old is None or new is None:
        return False
    return _differ(old.alignment_id, new.alignment_id) or (old.uri == new.uri and _differ(old.id, new.id))


def _differ(old: int | None, new: int | None) -> bool:
    """Whether two ids are known, and not the same."""
    return old is not None and new is not None and old != new


def _require_whole_merge(record: RunRecord, plan: RunPlan) -> None:
    """Raise PopsicleError where a merged volume would lose the objects that an earlier fetch brought into it."""
    if plan.merge is None:
        return
    planned = {annotation.url for annotation in plan.record.annotations}
    lost = [a.object for a in record.annotations if a.uri == str(plan.merge.uri) and a.url not in planned]
    if lost:
        raise PopsicleError(
            f"the merged volume of the run has {', '.join(lost)} too", "fetch all objects together, or --overwrite"
        )


def _covers(record: RunRecord, plan: RunPlan) -> bool:
    """Whether an earlier fetch brought all that this plan names."""
    known = {(a.uri, a.url) for a in record.annotations}
    if not all((a.uri, a.url) in known for a in plan.record.annotations):
        return False
    paths = {file.path for file in record.files}
    folders = {path.split(".zarr/")[0] + ".zarr" for path in paths if ".zarr/" in path}
    wanted = {store.path for store in plan.stores}
    if plan.merge is not None:
        wanted.add(segmentation_path(plan.run, plan.merge.uri))
    return wanted <= folders and {picks_path(plan.run, p.uri) for p in plan.points} <= paths
