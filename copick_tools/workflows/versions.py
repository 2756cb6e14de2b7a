"""What computed a result."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from copick_tools import __version__


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of this package, Python, the platform, and those of ``packages`` that are installed."""
    found = {"copick-tools": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
