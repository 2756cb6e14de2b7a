"""Addresses of files: here, by https, in S3, in a dataset repository of Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from copick_tools.data.remote.listing import RemoteFile, inside
from copick_tools.errors import FormatError, NotFoundError, UsageError

HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")


def is_remote(address: str) -> bool:
    """Whether it is elsewhere, not a path on this machine."""
    return urlsplit(address).scheme in ("http", "https", "s3", "hf")


def resolve(address: str) -> str:
    """The same address, of a kind that can be downloaded: https://, s3://, or an absolute path.

    ``hf://datasets/OWNER/NAME[@REVISION]/PATH`` is a file of a dataset repository. Raises UsageError, NotFoundError.
    """
    if address.startswith("hf://"):
        found = HUB.fullmatch(address)
        if found is None:
            raise UsageError(f"'{address}' is no file of a dataset repository", "hf://datasets/OWNER/NAME/PATH")
        from huggingface_hub import hf_hub_url

        repository, revision, path = found.groups()
        try:
            return str(hf_hub_url(repository, path, repo_type="dataset", revision=revision))
        except ValueError as error:
            raise UsageError(f"'{address}' is no file of a dataset repository: {error}") from error
    if is_remote(address):
        return address
    if "://" in address and not address.startswith(("file://", "local://")):
        raise UsageError(f"'{address}': no such kind of address", "a path, https://, s3:// or hf://datasets/…")
    path = Path(address.removeprefix("file://").removeprefix("local://")).expanduser().absolute()
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    return str(path)


def join(base: str, relative: str) -> str:
    """What ``relative`` means beside ``base``, which is a folder. An absolute address is its own.

    Raises FormatError: a path that leaves the folder.
    """
    if is_remote(relative):
        return relative
    if not relative.strip("/. "):
        raise FormatError("an address is empty")
    if relative.startswith(("/", "file:", "local:")) or ".." in relative.split("/") or "\\" in relative:
        raise FormatError(f"'{relative}' leaves the data set", "paths in a manifest are relative to it")
    if base.startswith(("http://", "https://")):
        return urljoin(base.rstrip("/") + "/", quote(relative))
    return f"{base.rstrip('/')}/{relative}"


def local_files(folder: str) -> Iterator[RemoteFile]:
    """The files of a folder on this machine. Raises NotFoundError, FormatError."""
    root = Path(folder)
    found = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
    if not found:
        raise NotFoundError(f"there is nothing in {folder}")
    for path in found:
        yield RemoteFile(
            str(path),
            path.stat().st_size,
            str(path.stat().st_mtime_ns),
            inside(path.relative_to(root).as_posix(), folder),
        )
