"""Paths as commands take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class FilePath(click.Path):
    """A file or a folder. An empty word isn't the current folder: it is a variable of the shell that isn't set."""

    def __init__(self, **how: Any) -> None:
        super().__init__(path_type=Path, **how)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click, but for an empty word."""
        if value == "":
            self.fail("a path can't be empty", param, ctx)
        return super().convert(value, param, ctx)
