"""The only door to MONAI. Its import would import transformers, pandas and matplotlib too, for parts of it that nobody uses here.

In this process those parts (TransChex, CSV data sets, its own pictures) stay without them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

UNUSED = ("matplotlib", "pandas", "transformers")  # by MONAI's pictures, time tables and TransChex


class _Absent(MetaPathFinder):
    """Packages that can't be found by this thread."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.thread = names, threading.get_ident()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """See `MetaPathFinder`. Raises ModuleNotFoundError."""
        if fullname.partition(".")[0] in self.names and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Where this thread finds nothing more of some packages. The list of finders is replaced, for other threads may be walking it."""
    finder = _Absent(names)
    sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        sys.meta_path = [other for other in sys.meta_path if other is not finder]


with _without(UNUSED):
    from monai.data.utils import compute_importance_map, dense_patch_slices
    from monai.losses import FocalLoss
    from monai.losses.utils import compute_tp_fp_fn
    from monai.networks import nets
    from monai.networks.blocks.mednext_block import MedNeXtDownBlock
    from monai.networks.nets import SwinUNETR, UNet
    from monai.networks.nets.mednext import MedNeXt

__all__ = [
    "FocalLoss",
    "MedNeXt",
    "MedNeXtDownBlock",
    "SwinUNETR",
    "UNet",
    "compute_importance_map",
    "compute_tp_fp_fn",
    "dense_patch_slices",
    "nets",
]
