"""From what was asked to what will be fetched, or streamed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copick_tools.data.manifests.places import put_copy
from copick_tools.data.manifests.reading import FOLDER, METADATA, Manifest
from copick_tools.data.portal.client import Portal
from copick_tools.data.project import Project, create_streamed
from copick_tools.data.remote.address import is_remote
from copick_tools.data.remote.download import Downloader
from copick_tools.data.remote.manifest import read_manifest
from copick_tools.data.splits import publish_splits
from copick_tools.data.temporary import temporary_folder
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.workflows.fetch import FetchPlan
from copick_tools.workflows.fetch_croissant import manifest_objects, plan_croissant
from copick_tools.workflows.fetch_portal import Request, plan_portal

log = logging.getLogger("copick_tools")
TABLE_WORKERS = 4


def plan_fetch(request: Request, croissant: str | None, out: Path) -> FetchPlan:
    """Everything that will be fetched; nothing of it is, yet.

    croissant: a manifest; ``none``: not even the task's own. With a portal task it says which runs there are and in
    which splits, and the portal has the data; without, its data are fetched.
    """
    out = Path(os.path.abspath(out.expanduser()))
    with temporary_folder() as room:
        manifest = _manifest(request, croissant, room)
        if manifest is None:
            return plan_portal(request, out, Portal())
        if _is_of_portal(request):
            return plan_portal(request, out, Portal(), manifest.listed())
        return plan_croissant(request, manifest)


def _is_of_portal(request: Request) -> bool:
    """Whether the data come from the portal, whatever manifest says which."""
    task = request.task
    return bool(request.ids) or (task is not None and bool(task.portal_dataset_ids or task.portal_deposition_ids))


def _manifest(request: Request, croissant: str | None, room: Path) -> Manifest | None:
    """The manifest that was given, else the suite's of the task, if it is to be had."""
    if croissant == "none" or (croissant is None and (request.task is None or request.task.croissant is None)):
        return None
    if request.ids and croissant is not None:
        raise UsageError("a Croissant says which runs there are: give no ids beside it")
    if croissant is not None:
        with Downloader(TABLE_WORKERS) as downloader:
            return read_manifest(croissant, room, downloader)
    if os.environ.get("POPSICLE_PORTAL_URL"):
        return None  # another portal: the suite's run ids aren't those here
    assert request.task is not None
    assert request.task.croissant is not None
    try:
        with Downloader(TABLE_WORKERS, patience=1) as downloader:
            manifest = read_manifest(request.task.croissant, room, downloader)
    except PopsicleError as error:
        log.warning("no splits from %s: %s", request.task.croissant, error.message)
        return None
    log.info("runs and splits are those of %s", manifest.address)
    return manifest


def stream(request: Request, croissant: str | None, out: Path) -> Project:
    """Make a project at ``out`` that copies nothing: it reads from the portal, or from where a manifest's data are.

    Raises UsageError (``out`` holds another project), NotFoundError, PopsicleError.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if croissant not in (None, "none") and not _is_of_portal(request):
        return _stream_manifest(request, str(croissant), out)
    plan = plan_fetch(request, croissant, out)
    ids = {run.run: str(run.record.portal_run_id) for run in plan.runs}
    settings = {
        "config_type": "cryoet_data_portal",
        "dataset_ids": sorted({run.record.dataset_id for run in plan.runs}),
    }
    project = create_streamed(out, plan.name, plan.objects, plan.description, settings)
    publish_splits(project, {ids[run.run]: run.record.split for run in plan.runs}, names=set(ids.values()))
    log.info("runs are called by their portal id; picks are *:data-portal/* with the id of their file as session")
    return project


def _stream_manifest(request: Request, croissant: str, out: Path) -> Project:
    """The manifest itself is copied into the project, for copick can't read one that is elsewhere; its data aren't."""
    folder = out / ".popsicle" / "croissant" / FOLDER
    with temporary_folder() as room:
        with Downloader(TABLE_WORKERS) as downloader:
            manifest = read_manifest(croissant, room, downloader)
        document = _with_tables_beside(manifest)
        (room / METADATA).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        settings: dict[str, Any] = {
            "config_type": "mlcroissant",
            "croissant_url": str(folder / METADATA),
            "croissant_base_url": manifest.base,
            "static_fs_args": {"anon": True} if manifest.base.startswith("s3://") else {},
        }
        name, said = str(manifest.document.get("name") or "croissant"), f"streamed from {manifest.address}"
        project = create_streamed(out, name, manifest_objects(manifest), said, settings, lambda: put_copy(folder, room))
    publish_splits(project, {entry.name: entry.split for entry in manifest.listed()})
    if not is_remote(manifest.base):
        log.info("the data are read from %s", manifest.base)
    return project


def _with_tables_beside(manifest: Manifest) -> Mapping[str, Any]:
    """The document with its tables named relative to itself, where copies of them are now."""
    entries = [
        {**entry, "contentUrl": str(entry["contentUrl"]).rpartition("/")[2]} if "contentUrl" in entry else entry
        for entry in manifest.document["distribution"]
    ]
    return {**manifest.document, "distribution": entries}
