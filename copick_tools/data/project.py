"""Open, make and describe copick projects."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from copick_tools.data.replace import replacing
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.task import Task

log = logging.getLogger("copick_tools")
MARKER = ".popsicle/project.json"  # beside the config of a project that we made


@dataclass(frozen=True)
class ProjectObject:
    """What a project says of an object. radius: angstrom, None where there is none. identifier: an ontology id."""

    name: str
    label: int
    radius: float | None
    is_particle: bool
    color: tuple[int, ...]
    identifier: str | None = None


class Project:
    """A copick project, opened by its config file. Pickles as its path, so it can go to worker processes."""

    def __init__(self, config: Path, root: Any) -> None:
        self.config = config
        self.root = root

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return open_project, (self.config,)

    @property
    def folder(self) -> Path:
        """The folder of the config."""
        return self.config.parent

    @property
    def sidecar(self) -> Path:
        """Our own folder beside the config: splits, provenance, staging."""
        return self.folder / ".popsicle"

    @cached_property
    def objects(self) -> dict[str, ProjectObject]:
        """The pickable objects by name."""
        return {
            o.name: ProjectObject(
                o.name, o.label, o.radius, o.is_particle, tuple(o.color or (128, 128, 128, 255)), o.identifier
            )
            for o in self.root.config.pickable_objects
        }

    def object(self, name: str) -> ProjectObject:
        """A pickable object. Raises NotFoundError."""
        if name not in self.objects:
            raise NotFoundError(f"no object '{name}' in {self.config}", nearest(name, self.objects))
        return self.objects[name]

    @cached_property
    def run_names(self) -> list[str]:
        """All runs, sorted."""
        return sorted(run.name for run in self.root.runs)

    def run(self, name: str) -> Any:
        """A copick run. Raises NotFoundError."""
        if name not in self.run_names:
            raise NotFoundError(f"no run '{name}' in {self.config}", nearest(name, self.run_names))
        return self.root.get_run(name)


def open_project(config: str | Path) -> Project:
    """Open a copick project of any backend by its config file.

    A project that we made and that was moved since is opened where it lies now.

    Raises NotFoundError (no such file), FormatError (no copick config).
    """
    path = Path(os.path.abspath(Path(config).expanduser()))
    if path.is_dir():
        path = path / "copick.json"
    if not path.is_file():
        raise NotFoundError(f"no copick config {path}", "give a project's copick.json with -c or in COPICK_CONFIG")
    from pydantic import ValidationError

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "config_type" not in document:
            raise FormatError(f"{path} is no copick config", "it has no `config_type`")
        return Project(path, _root(_relocated(document, path)))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FormatError(f"{path} is no copick config: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is no copick config: {error}") from error


def _root(document: dict[str, Any]) -> Any:
    """copick's root of a config. Raises what copick raises."""
    import copick

    kind, portal = document.get("config_type"), os.environ.get("POPSICLE_PORTAL_URL")
    if kind == "cryoet_data_portal" and portal:
        from cryoet_data_portal import _client

        _client.DEFAULT_URL = portal  # copick asks the client's default portal, which has no other switch
    manifest = local_path(str(document.get("croissant_url", ""))) if kind == "mlcroissant" else None
    if manifest is not None and document.get("overlay_root"):
        from copick_tools.data.croissant import open_croissant

        return open_croissant(manifest, document)
    return copick.from_string(json.dumps(document))


def _relocated(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config as it is, but a project that we made has its data beside its config, moved or copied as it may be."""
    if path.name != "copick.json" or not (path.parent / MARKER).is_file():
        return document
    root = local_path(str(document.get("overlay_root", "")))
    if root != path.parent:
        log.info("%s was moved or copied from %s: its data are those beside it", path, root)
    moved = {**document, "overlay_root": f"local://{path.parent}"}
    manifest = local_path(str(document.get("croissant_url", "")))
    if root is not None and manifest is not None and manifest.is_relative_to(root):
        moved["croissant_url"] = str(path.parent / manifest.relative_to(root))
    return moved


def local_path(url: str) -> Path | None:
    """The folder that a storage URL names if it is on this machine, else None."""
    scheme, separator, path = url.partition("://")
    if not separator:
        return Path(url).absolute()
    return Path(path).absolute() if scheme in ("local", "file") else None


def create_project(folder: Path, name: str, objects: Iterable[ProjectObject], description: str) -> Project:
    """Make, or open again, a filesystem project at ``folder``/copick.json; objects that it lacks are added.

    Raises UsageError when the folder holds a project whose objects have other labels or radii.
    """
    folder = folder.expanduser().absolute()
    config = folder / "copick.json"
    entries = sorted(objects, key=lambda entry: entry.label)
    if config.exists():
        known = open_project(config).objects
        _require_agreement(config, known, entries)
        missing = [_pickable(entry) for entry in entries if entry.name not in known]
        if missing:
            document = json.loads(config.read_text(encoding="utf-8"))
            document["pickable_objects"] = [*document.get("pickable_objects", ()), *missing]
            write_text(config, json.dumps(document, indent=2) + "\n")
        return open_project(config)
    document = {
        "config_type": "filesystem",
        "name": name,
        "description": description,
        "version": "1.0",
        "pickable_objects": [_pickable(entry) for entry in entries],
        "overlay_root": f"local://{folder}",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    write_text(folder / MARKER, "{}\n")
    write_text(config, json.dumps(document, indent=2) + "\n")
    return open_project(config)


def _require_agreement(config: Path, known: Mapping[str, ProjectObject], entries: Iterable[ProjectObject]) -> None:
    """Raise UsageError where objects differ from those that the project has."""
    names = {entry.label: entry.name for entry in known.values()}
    for new in entries:
        old = known.get(new.name)
        if old is None and new.label in names:
            raise UsageError(
                f"label {new.label} is {names[new.label]} in {config}, not {new.name}", "choose another --out"
            )
        if old and (old.label != new.label or (new.radius is not None and old.radius != new.radius)):
            raise UsageError(
                f"{new.name} has label {old.label} and radius {old.radius} in {config}, not {new.label} and {new.radius}",
                "choose another --out",
            )


def create_streamed(
    folder: Path,
    name: str,
    objects: Iterable[ProjectObject],
    description: str,
    settings: Mapping[str, Any],
    bring: Callable[[], None] = lambda: None,
) -> Project:
    """Make a project at ``folder``/copick.json whose data are elsewhere, and what is written lies in ``folder``.

    settings: what copick needs to find the data. bring: brings what these name, once the folder is known to be free.
    Raises UsageError: the folder holds another project.
    """
    folder = folder.expanduser().absolute()
    document = {
        "name": name,
        "description": description,
        "version": "1.0",
        "pickable_objects": [_pickable(o) for o in sorted(objects, key=lambda o: o.label)],
        "overlay_root": f"local://{folder}",
        "overlay_fs_args": {"auto_mkdir": True},
        **settings,
    }
    config = folder / "copick.json"
    text = json.dumps(document, indent=2) + "\n"
    if config.exists() and config.read_text(encoding="utf-8") != text:
        raise UsageError(f"{config} is another project", "choose another --out")
    bring()
    write_text(folder / MARKER, "{}\n")
    write_text(config, text)
    return open_project(config)


def project_objects(task: Task) -> list[ProjectObject]:
    """The objects of a task as a project has them."""
    return [
        ProjectObject(o.name, o.label, o.radius, o.is_particle, tuple(o.color), o.portal_object_id)
        for o in task.objects
    ]


def _pickable(entry: ProjectObject) -> dict[str, Any]:
    return {
        "name": entry.name,
        "is_particle": entry.is_particle,
        "label": entry.label,
        "color": list(entry.color),
        **({"radius": entry.radius} if entry.radius is not None else {}),
        **({"identifier": entry.identifier} if entry.identifier else {}),
    }


def check_objects(project: Project, task: Task) -> None:
    """Raise NotFoundError or UsageError unless the project has the task's target objects with the same labels."""
    for wanted in task.targets:
        if project.object(wanted.name).label != wanted.label:
            raise UsageError(
                f"object {wanted.name} has label {project.object(wanted.name).label} in {project.config}, "
                f"but {wanted.label} in task {task.name}"
            )


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
