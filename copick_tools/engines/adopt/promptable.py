"""Which folders hold a promptable model of transformers; told without importing it."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = "config.json"
FAMILIES = {
    "sam": "sam",
    **dict.fromkeys(("sam2", "sam2_video", "sam3_tracker", "sam3_tracker_video", "sam3_video"), "sam2"),
}  # by what a configuration calls itself


def is_promptable(folder: Path) -> bool:
    """Whether transformers wrote a promptable model there."""
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and str(document.get("model_type")) in FAMILIES
