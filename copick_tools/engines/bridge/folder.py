"""The folder of an experiment that holds nnU-Net's data while it trains: what it is called, and how it goes."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from copick_tools.data.replace import clear_leftovers

WORKSPACE = ".nnunet"  # inside an experiment's folder; no experiment is called so
NOTE = "made-for.json"  # what it was made for; a folder without one isn't ours


def remove(folder: Path) -> bool:
    """Remove a workspace, its note last. Returns whether nothing is left of it: what isn't ours stays as it is.

    Where ``folder`` is a link, the folder that it leads to is emptied, and both stay.
    """
    if not folder.is_dir():
        return not folder.exists()
    clear_leftovers(folder)
    if (folder / NOTE).is_file():
        for path in [path for path in folder.iterdir() if path.name != NOTE]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        if [path.name for path in folder.iterdir()] == [NOTE]:
            (folder / NOTE).unlink()
    if any(folder.iterdir()):
        return False
    if not folder.is_symlink():
        folder.rmdir()
    return True
