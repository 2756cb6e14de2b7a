"""Whether the objects of a manifest are those of the project that it lies in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from copick_tools.data.manifests.subject import Subject, error
from copick_tools.recipes.data_results import ManifestFinding

KEYS = ("label", "radius", "is_particle")  # a target that is painted with others is another target


def check_objects(subject: Subject) -> Iterator[ManifestFinding]:
    """Names, labels and radii, as the project's copick.json has them now."""
    path = subject.data / "copick.json" if subject.data is not None else None
    if path is None or not path.is_file():
        return
    try:
        theirs = _by_name(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError):
        yield error("objects", path.name, "the project's config can't be read")
        return
    config = subject.document.get("copick:config")
    ours = _by_name(config) if isinstance(config, dict) else {}
    for name in sorted(ours.keys() | theirs.keys()):
        old, new = ours.get(name), theirs.get(name)
        if old is None or new is None:
            yield error("objects", path.name, f"object {name} is {'not in the manifest' if old is None else 'gone'}")
            continue
        changed = [key for key in KEYS if key in new and old.get(key) != new.get(key)]
        if changed:
            told = ", ".join(f"{key} {old.get(key)} is now {new.get(key)}" for key in changed)
            yield error("objects", path.name, f"object {name} isn't what was published: {told}")


def _by_name(config: Any) -> dict[str, dict[str, Any]]:
    """The pickable objects of a config, whatever it is."""
    entries = config.get("pickable_objects") if isinstance(config, dict) else None
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {str(entry.get("name")): entry for entry in found}
