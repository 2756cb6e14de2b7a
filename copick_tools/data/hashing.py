"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Digest:
    """size: bytes. sha256: hexadecimal."""

    size: int
    sha256: str


def digest(path: Path) -> Digest:
    """Size and hash of one file, of one reading in blocks."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(file.tell(), sha256)


def file_hash(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    return digest(path).sha256


def text_hash(text: str) -> str:
    """sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_begun(path: Path) -> Any:
    """The hash of a file that will be continued."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
