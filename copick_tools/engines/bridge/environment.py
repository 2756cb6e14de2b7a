"""What nnU-Net reads from its surroundings: set for as long as it works here, and put back as it was."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from copick_tools.data.temporary import lasting_folder
from copick_tools.errors import NotFoundError

log = logging.getLogger("copick_tools")
FOLDERS = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
SETTINGS = {
    "nnUNet_def_n_proc": "1",  # read when nnU-Net is imported
    "nnUNet_n_proc_DA": "1",
    "nnUNet_compile": "f",
    "nnUNet_wandb_enabled": "0",
}


def require_nnunet() -> None:
    """Raise NotFoundError where nnU-Net isn't installed."""
    if importlib.util.find_spec("nnunetv2") is None:
        raise NotFoundError("nnU-Net isn't installed", 'pip install "copick-tools[nnunet]"')


@functools.cache
def _matplotlib_folder() -> str:
    """One for this process, for matplotlib asks for its own but once."""
    return str(lasting_folder())


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """nnU-Net's folders are below ``folder``, and what it prints goes to our log, at level debug.

    Environment variables, warning filters and the global random states of Python and NumPy are restored at the end.
    """
    wanted = {name: str(folder / part) for name, part in FOLDERS.items()}
    wanted |= SETTINGS | {"MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or _matplotlib_folder()}
    before = dict(os.environ)
    states = random.getstate(), np.random.get_state()
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ.update(wanted)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(Debug()):
            yield
    finally:
        for name in os.environ.keys() - before.keys():  # libraries set some when they are imported
            del os.environ[name]
        os.environ.update(before)
        random.setstate(states[0])
        np.random.set_state(states[1])


class Debug(io.TextIOBase):
    """A stream whose lines are logged at level debug."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Log the lines of ``text`` that hold something."""
        for line in text.splitlines():
            if line.strip():
                log.debug("nnU-Net: %s", line.rstrip())
        return len(text)
