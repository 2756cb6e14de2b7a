"""Read the JSON documents that we keep beside a project."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from copick_tools.errors import FormatError
from copick_tools.recipes.base import Strict

Document = TypeVar("Document", bound=Strict)


def read_document(path: Path, model: type[Document], hint: str) -> Document | None:
    """The document; None where there is none. hint: what to do about a damaged one. Raises FormatError."""
    if not path.is_file():
        return None
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise FormatError(f"{path} can't be read: {where}: {first['msg']}", hint) from error
