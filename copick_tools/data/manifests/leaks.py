"""Places and names of the machine that a manifest was made on."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from copick_tools.data.manifests.tables import Row, csv_name

_LOCAL = (
    re.compile(r"(?:file|local)://", re.IGNORECASE),
    re.compile(r"(?<![A-Za-z0-9.])/(?:home|Users|root|tmp|mnt|media|scratch|private)/"),
    re.compile(r"(?<![A-Za-z])[A-Za-z]:(?:\\\\?[^\s\\]|/(?:[\w.-]{3,}|[\w.-]{2}/))"),  # not the ratio C:/N
    re.compile(r"\\\\[A-Za-z0-9._-]+\\"),
    re.compile(r"""(?:^|[\s"'(=,;])(?:/[A-Za-z0-9._-]+/|~[A-Za-z0-9._-]*/)"""),
)
_PUBLIC = re.compile(r"(?:https?|s3)://[^\s\"'<>]*")
_WHOLE = re.compile(r"/[A-Za-z0-9._-]+")


def strings(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(where, text) of every string in a JSON document, keys included, but for the @context."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "@context":
                here = f"{where}.{key}" if where else str(key)
                yield here, str(key)
                yield from strings(inner, here)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from strings(inner, f"{where}[{number}]")


def leaks(document: Mapping[str, Any], tables: Mapping[str, Sequence[Row]], secrets: Sequence[str]) -> Iterator[str]:
    """A sentence for each place (the first of each column) that names something local. secrets: folders of this project."""
    for where, text in strings(document):
        if name := local_name(text, secrets):
            yield f"metadata.json: {where} names {name}"
    for record_set, rows in tables.items():
        told: set[str] = set()
        for number, row in enumerate(rows, 2):
            for column, text in row.items():
                own = () if column in ("url", "path") else secrets  # those are relative, and named after runs
                if column not in told and (name := local_name(text, own)):
                    told.add(column)
                    yield f"{csv_name(record_set)}: line {number}, {column} names {name}"


def local_name(text: str, secrets: Sequence[str] = ()) -> str | None:
    """What a text tells of a machine: a local path or address, one of ``secrets``; None where it tells nothing."""
    text = _PUBLIC.sub("", text)
    for secret in secrets:
        if secret in text:
            return f"the local path {secret}"
    if _WHOLE.fullmatch(text) or any(pattern.search(text) for pattern in _LOCAL):
        return f"a local path ({_short(text)})"
    return None


def own_names(folder: Path) -> list[str]:
    """What of this machine must not stand in a manifest: the project's folder, and paths through the user's own folder."""
    parts = folder.parts
    found = [str(folder)] if len(parts) > 2 else []
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        return found
    return [*found, f"/{user}/", f"\\{user}\\"] if len(user) > 2 else found


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
