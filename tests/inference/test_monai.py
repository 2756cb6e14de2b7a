"""The door to MONAI."""

import subprocess
import sys

UNUSED = """
import sys
import copick_tools.inference.monai as door
print([name for name in ("transformers", "matplotlib", "pandas") if name in sys.modules])
print([finder for finder in sys.meta_path if type(finder) is door._Absent])
import matplotlib, pandas, transformers
from monai.networks.nets import UNet
assert door.UNet is UNet
"""


def test_what_is_not_used_is_not_imported_and_can_be_afterwards():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", UNUSED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_another_thread_finds_everything():
    import threading

    from copick_tools.inference.monai import _without

    found = []

    def look():
        import importlib

        found.append(importlib.import_module("colorsys"))

    sys.modules.pop("colorsys", None)
    with _without(["colorsys"]):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        try:
            sys.modules.pop("colorsys", None)
            import colorsys  # noqa: F401
        except ModuleNotFoundError:
            found.append(None)
    assert [module is None for module in found] == [False, True]
