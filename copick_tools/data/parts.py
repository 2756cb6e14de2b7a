"""Results of single runs, kept until all are there: a command that was killed goes on from them.

They lie in a folder beside the output, NAME.parts, with a fingerprint of what they depend on, and go when the output is
written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from copick_tools.data.replace import clear_leftovers, replacing


class Parts:
    """Parts of ``out``. fingerprint: any JSON; parts made under another one count as missing."""

    def __init__(self, out: Path, fingerprint: Any) -> None:
        self.folder = out.with_name(out.name + ".parts")
        self._fingerprint = _digest(fingerprint)
        clear_leftovers(self.folder)

    def read(self, name: str, of: Any = None) -> Any:
        """The document of a part, None where it has to be made. of: JSON of what this part alone depends on."""
        try:
            held = json.loads(self._path(name).read_bytes())
        except (OSError, ValueError):
            return None
        known = isinstance(held, dict) and held.get("fingerprint") == [self._fingerprint, _digest(of), name]
        return held.get("document") if known else None

    def write(self, name: str, document: Any, of: Any = None) -> None:
        """Keep a part (JSON)."""
        with replacing(self._path(name)) as temporary:
            held = {"fingerprint": [self._fingerprint, _digest(of), name], "document": document}
            temporary.write_text(json.dumps(held), encoding="utf-8")

    def clear(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{_digest(name)[:16]}.json"


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
